// What the kernels of a linear share, forward and backward: sizes, and the LoRA pair beside the
// weight.

struct Sizes {
    page_rows: u32,
    page_cols: u32,
    page_units: u32,
    tokens: u32,
    /// The rows of the page that are multiplied.
    first: u32,
    count: u32,
    /// Of `y` or `dy`: the column of the first row, and all columns.
    column: u32,
    columns: u32,
    /// Whether the product is added to something: forward a bias, backward what is in `dx`.
    add: u32,
    /// Rank of the LoRA pair, 0 without one.
    rank: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

/// The product with the pair's first matrix (T,R), and its second matrix.
@group(0) @binding(3) var<storage, read_write> thin: array<f32>;
@group(0) @binding(4) var<storage, read_write> other: array<f32>;

/// What the pair adds to token `t`, with the elements of the second matrix from `first` on,
/// `stride` apart.
fn pair(t: u32, first: u32, stride: u32) -> f32 {
    var sum = 0.0;
    for (var r = 0u; r < sizes.rank; r++) {
        sum += thin[t * sizes.rank + r] * other[first + r * stride];
    }
    return sizes.scale * sum;
}
