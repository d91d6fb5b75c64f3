// The largest `k` logits of each shard of a row: one after another, each the winner among what the
// lanes have left.

struct Sizes {
    /// The row's first element, and its length.
    first: u32,
    len: u32,
    k: u32,
}
var<immediate> sizes: Sizes;

/// Pairs of id and key, `k` per shard.
@group(0) @binding(1) var<storage, read_write> found: array<u32>;

const SHARD: u32 = 8192u;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id0 = group.x * SHARD + lane;
    let end = min(group.x * SHARD + SHARD, sizes.len);
    var mine = next(id0, end, FIRST);
    for (var i = 0u; i < sizes.k; i++) {
        let first = winner(lane, mine);
        if lane == 0u {
            let at = (group.x * sizes.k + i) * 2u;
            found[at] = first.y;
            found[at + 1u] = first.x;
        }
        if mine.y == first.y {
            mine = next(id0, end, mine);
        }
    }
}
