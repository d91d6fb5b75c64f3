// The id of a row's largest logit, to where the next token is read from.

struct Sizes {
    /// The row's first element, and its length.
    first: u32,
    len: u32,
    at: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(1) var<storage, read_write> ids: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let first = winner(lane, next(lane, sizes.len, FIRST));
    if lane == 0u {
        ids[sizes.at] = first.y;
    }
}
