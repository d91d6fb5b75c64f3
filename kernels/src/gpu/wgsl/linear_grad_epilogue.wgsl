// What the backward product multiplies, where it goes, and what is added to it.

@group(0) @binding(1) var<storage, read_write> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

/// Writes `sum`, the product of token `t` and column `col`. The pair's second matrix is the down
/// projection (R,I).
fn finish(t: u32, col: u32, sum: f32) {
    if t >= sizes.tokens || col >= sizes.page_cols {
        return;
    }
    let at = t * sizes.page_cols + col;
    var value = sum + pair(t, col, sizes.page_cols);
    if sizes.add != 0u {
        value += dx[at];
    }
    dx[at] = value;
}
