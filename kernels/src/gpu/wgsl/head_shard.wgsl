// Takes a shard of logits into the running maximum and sum of exponentials of every token: one
// workgroup per token. Statistics are (T, 4): maximum, sum, the target's logit, and room.

struct Sizes {
    /// The shard's first word, its words, and the width of its rows.
    first: u32,
    count: u32,
    stride: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> targets: array<u32>;
@group(0) @binding(1) var<storage, read_write> shard: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x * sizes.stride;
    let at = group.x * 4u;
    var most = shard[row];
    for (var i = lane; i < sizes.count; i += 64u) {
        most = max(most, shard[row + i]);
    }
    most = largest(lane, most);
    if sizes.first > 0u {
        most = max(most, statistics[at]);
    }
    var sum = 0.0;
    for (var i = lane; i < sizes.count; i += 64u) {
        sum += exp(shard[row + i] - most);
    }
    sum = total(lane, sum);
    if lane > 0u {
        return;
    }
    if sizes.first > 0u {
        sum += statistics[at + 1u] * exp(statistics[at] - most);
    }
    statistics[at] = most;
    statistics[at + 1u] = sum;
    let hit = targets[group.x];
    if hit >= sizes.first && hit - sizes.first < sizes.count {
        statistics[at + 2u] = shard[row + hit - sizes.first];
    }
}
