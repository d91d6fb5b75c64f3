// A product with few columns, of f32 operands with any strides: `c(m,n) = sum over k of a(m,k)
// b(k,n)`. The sum over k is split among workgroups; each leaves its part in `c`, as a matrix (m,n)
// of its own, and the kernel `sum` adds them up.

struct Sizes {
    m: u32,
    n: u32,
    k: u32,
    a_m: u32,
    a_k: u32,
    b_k: u32,
    b_n: u32,
    /// Terms of one part; a multiple of 32.
    part: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

/// Writes `sum`, an element of part `part`.
fn finish(part: u32, m: u32, n: u32, sum: f32) {
    if m < sizes.m && n < sizes.n {
        c[(part * sizes.m + m) * sizes.n + n] = sum;
    }
}
