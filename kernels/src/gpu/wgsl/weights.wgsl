// A page of a weight: whole rows, in units of 32 weights. A block type's file says how a unit is
// packed; `gpu/pack.rs` packs it. Kernels that read weights name their sizes `page_rows`,
// `page_cols` and `page_units` (units of a row).

const UNIT: u32 = 32u;

/// Eight weights that follow one another.
struct Eight {
    lo: vec4<f32>,
    hi: vec4<f32>,
}
