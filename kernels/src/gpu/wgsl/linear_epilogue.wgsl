// Where the forward product goes, and what is added to it.

@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> bias: array<f32>;

/// Writes `sum`, the product of token `t` and row `row` from the first on. The pair's second matrix
/// is the up projection (O,R).
fn finish(t: u32, row: u32, sum: f32) {
    if t >= sizes.tokens || row >= sizes.count {
        return;
    }
    let column = sizes.column + row;
    var value = sum + pair(t, column * sizes.rank, 1u);
    if sizes.add != 0u {
        value += bias[column];
    }
    y[t * sizes.columns + column] = value;
}
