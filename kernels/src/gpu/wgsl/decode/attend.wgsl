// Causal attention of one token over its cache, with an online softmax (FlashAttention-2, arXiv
// 2307.08691). A workgroup is a query head; it takes 64 keys at a time.

struct Sizes {
    pos: u32,
    heads: u32,
    kv_heads: u32,
    /// D.
    width: u32,
    window: u32,
    /// Columns of the cache.
    kv_stride: u32,
    scale: f32,
    /// Powers of two: at least D / 8, and at least D.
    chunks: u32,
    columns: u32,
    next_norm: u32,
    next_a: u32,
    next_rank: u32,
    next_second_a: u32,
    next_second_rank: u32,
    next_cols: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(3) var<storage, read_write> o: array<f32>;
@group(0) @binding(4) var<storage, read_write> floats: array<f32>;
@group(0) @binding(5) var<storage, read_write> adapter: array<f32>;
@group(0) @binding(6) var<storage, read_write> left: array<f32>;

/// Where nothing is.
const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.0e38;
const KEYS: u32 = 64u;

var<workgroup> query: array<f32, 256>;
/// Parts of the scores: eight columns each.
var<workgroup> parts: array<f32, 2048>;
var<workgroup> weights: array<f32, 64>;
var<workgroup> maxima: array<f32, 8>;
var<workgroup> sums: array<vec2<f32>, 256>;

/// Scores of the keys from `key0` on into `weights`.
fn put_scores(lane: u32, key0: u32, column0: u32) {
    for (var i = lane; i < KEYS * sizes.chunks; i += 256u) {
        let key_row = key0 + i / sizes.chunks;
        let d0 = i % sizes.chunks * 8u;
        var sum = 0.0;
        if key_row <= sizes.pos {
            let at = key_row * sizes.kv_stride + column0;
            for (var d = d0; d < min(d0 + 8u, sizes.width); d++) {
                sum += query[d] * key(at + d);
            }
        }
        parts[i] = sum;
    }
    workgroupBarrier();
    if lane < KEYS {
        var score = 0.0;
        for (var c = 0u; c < sizes.chunks; c++) {
            score += parts[lane * sizes.chunks + c];
        }
        weights[lane] = select(LOWEST, score * sizes.scale, key0 + lane <= sizes.pos);
    }
    workgroupBarrier();
}

fn largest_weight(lane: u32) -> f32 {
    if lane < 8u {
        var most = weights[lane * 8u];
        for (var i = 1u; i < 8u; i++) {
            most = max(most, weights[lane * 8u + i]);
        }
        maxima[lane] = most;
    }
    workgroupBarrier();
    var most = maxima[0];
    for (var i = 1u; i < 8u; i++) {
        most = max(most, maxima[i]);
    }
    return most;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = group.x;
    let column0 = head / (sizes.heads / sizes.kv_heads) * sizes.width;
    if lane < sizes.width {
        query[lane] = q[head * sizes.width + lane];
    }
    workgroupBarrier();
    let teams = 256u / sizes.columns;
    let team = lane / sizes.columns;
    let d = lane % sizes.columns;
    let first = sizes.pos + 1u - min(sizes.window, sizes.pos + 1u);
    var most = LOWEST;
    // Of the keys that this lane sees: the sum of their weights, and of their values at column d.
    var seen = vec2<f32>(0.0);
    for (var key0 = first; key0 <= sizes.pos; key0 += KEYS) {
        put_scores(lane, key0, column0);
        let now = max(most, largest_weight(lane));
        if lane < KEYS {
            weights[lane] = select(0.0, exp(weights[lane] - now), key0 + lane <= sizes.pos);
        }
        workgroupBarrier();
        seen *= exp(most - now);
        most = now;
        for (var i = team; i < min(KEYS, sizes.pos + 1u - key0); i += teams) {
            var v = 0.0;
            if d < sizes.width {
                v = value((key0 + i) * sizes.kv_stride + column0 + d);
            }
            seen += weights[i] * vec2<f32>(1.0, v);
        }
        workgroupBarrier();
    }
    sums[lane] = seen;
    workgroupBarrier();
    for (var stride = 128u; stride >= sizes.columns; stride >>= 1u) {
        if lane < stride {
            sums[lane] += sums[lane + stride];
        }
        workgroupBarrier();
    }
    if lane < sizes.width {
        let value = sums[lane].y / sums[lane].x;
        o[head * sizes.width + lane] = value;
        own[lane] = value;
    }
    workgroupBarrier();
    leave(lane, head, head * sizes.width, sizes.width);
}
