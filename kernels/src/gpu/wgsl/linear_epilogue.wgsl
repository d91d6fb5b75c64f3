// Sizes and operands of a linear, and what is added to a finished product.

struct Sizes {
    page_rows: u32,
    page_cols: u32,
    page_units: u32,
    tokens: u32,
    /// The rows of the page that are multiplied, and the column of `y` that the first one makes.
    first: u32,
    count: u32,
    column: u32,
    y_cols: u32,
    has_bias: u32,
    /// Rank of the LoRA pair, 0 without one.
    rank: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
/// `x aᵀ` (T,R), and the up projection (O,R).
@group(0) @binding(4) var<storage, read_write> thin: array<f32>;
@group(0) @binding(5) var<storage, read_write> lora_b: array<f32>;

/// Writes `sum`, the product of token `t` and row `row` from the first on.
fn finish(t: u32, row: u32, sum: f32) {
    if t >= sizes.tokens || row >= sizes.count {
        return;
    }
    let column = sizes.column + row;
    var value = sum;
    if sizes.has_bias != 0u {
        value += bias[column];
    }
    if sizes.rank > 0u {
        var pair = 0.0;
        for (var r = 0u; r < sizes.rank; r++) {
            pair += thin[t * sizes.rank + r] * lora_b[column * sizes.rank + r];
        }
        value += sizes.scale * pair;
    }
    y[t * sizes.y_cols + column] = value;
}
