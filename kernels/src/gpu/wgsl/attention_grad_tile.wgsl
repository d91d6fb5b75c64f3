// The gradient of one score (FlashAttention-2, arXiv 2307.08691): with p the weight of a key,
// `ds = p (do v - delta) scale`.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;

var<private> kv_head: u32;

/// Element `d` of query `i`, or of the gradient of its output.
fn query_element(operand: u32, i: u32, d: u32) -> f32 {
    if i >= queries() {
        return 0.0;
    }
    let at = query(i, kv_head) * sizes.width + d;
    if operand == 0u {
        return q[at];
    }
    return dy[at];
}

/// Element `d` of key `i`, or of its value.
fn key_element(operand: u32, i: u32, d: u32) -> f32 {
    if i >= sizes.tokens {
        return 0.0;
    }
    let at = i * sizes.kv_stride + kv_head * sizes.width + d;
    if operand == 0u {
        return k[at];
    }
    return v[at];
}

/// Weight of a key for query `i`, and the gradient of its score.
fn weight_and_slope(i: u32, col: u32, score: f32, dp: f32) -> vec2<f32> {
    if i >= queries() {
        return vec2<f32>(0.0);
    }
    let at = position(i);
    if col > at || col < first_seen(at) {
        return vec2<f32>(0.0);
    }
    let head = query(i, kv_head);
    let p = exp(score * sizes.scale - lse[head]);
    // A lone key has all the weight whatever its score.
    let lone = first_seen(at) == at;
    let ds = select(p * (dp - delta[head]) * sizes.scale, 0.0, lone);
    return vec2<f32>(p, ds);
}
