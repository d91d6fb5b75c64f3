// A row's largest logit: its id and its key.

struct Sizes {
    /// The row's first element, and its length.
    first: u32,
    len: u32,
    at: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(1) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let first = winner(lane, next(lane, sizes.len, FIRST));
    if lane == 0u {
        found[sizes.at] = first.y;
        found[sizes.at + 1u] = first.x;
    }
}
