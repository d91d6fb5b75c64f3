// A panel of a weight: whole rows, in units of 32 weights, somewhere in a page. A block type's file
// says how a unit is packed, and reads eight weights of it; `gpu/pack.rs` packs it.

const UNIT: u32 = 32u;

struct Panel {
    /// Where it begins: in vectors of four words, F32 in values.
    first: u32,
    rows: u32,
    cols: u32,
    /// Units of a row.
    units: u32,
}

/// Eight weights that follow one another.
struct Eight {
    lo: vec4<f32>,
    hi: vec4<f32>,
}
