// The order of logits, as `top.rs` has it. A candidate is a key and an id: of equal keys the lower
// id comes first. Logits are looked at as bits, since some drivers lose what is no number.

@group(0) @binding(0) var<storage, read_write> logits: array<u32>;

/// Before every candidate, and after.
const FIRST: vec2<u32> = vec2<u32>(0xffffffffu, 0u);
const LAST: vec2<u32> = vec2<u32>(0u, 0xffffffffu);

var<workgroup> best: array<vec2<u32>, 256>;

fn order(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return 0u;
    }
    if magnitude == 0u || bits == magnitude {
        return magnitude | 0x80000000u;
    }
    return ~bits;
}

fn precedes(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}

/// The first that comes after `last`, of every 256th of the ids from `id0` to `end`.
fn next(id0: u32, end: u32, last: vec2<u32>) -> vec2<u32> {
    var found = LAST;
    for (var id = id0; id < end; id += 256u) {
        let candidate = vec2<u32>(order(logits[sizes.first + id]), id);
        if precedes(candidate, found) && precedes(last, candidate) {
            found = candidate;
        }
    }
    return found;
}

/// The first of all lanes' candidates.
fn winner(lane: u32, mine: vec2<u32>) -> vec2<u32> {
    best[lane] = mine;
    workgroupBarrier();
    for (var stride = 128u; stride > 0u; stride >>= 1u) {
        if lane < stride && precedes(best[lane + stride], best[lane]) {
            best[lane] = best[lane + stride];
        }
        workgroupBarrier();
    }
    let first = best[0];
    workgroupBarrier();
    return first;
}
