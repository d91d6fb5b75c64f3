// The gradient of one score (FlashAttention-2, arXiv 2307.08691): with p the weight of a key,
// `ds = p (do v - delta) scale`. What is beyond the last query or key counts nowhere, whatever it is.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;

/// Element `d` of query `i`, or of the gradient of its output.
fn query_element(operand: u32, i: u32, d: u32) -> f32 {
    let at = query(min(i, queries() - 1u), kv_head) * sizes.width + d;
    if operand == 0u {
        return q[at];
    }
    return dy[at];
}

/// Element `d` of key `i`, or of its value.
fn key_element(operand: u32, i: u32, d: u32) -> f32 {
    let at = min(i, sizes.tokens - 1u) * sizes.kv_stride + kv_head * sizes.width + d;
    if operand == 0u {
        return k[at];
    }
    return v[at];
}

/// The log-sum-exp of query `i`, and its `delta`.
fn statistics(i: u32) -> vec2<f32> {
    let head = query(min(i, queries() - 1u), kv_head);
    return vec2<f32>(lse[head], delta[head]);
}

/// Weights of four keys for four queries, the first of which are at position 0: a gradient has no
/// cache before it.
fn four_weights(
    queried: vec4<u32>,
    keys: vec4<u32>,
    scores: vec4<f32>,
    lses: vec4<f32>,
) -> vec4<f32> {
    let at = queried / group_len();
    let before = at + 1u - min(at + 1u, vec4<u32>(sizes.window));
    let seen = (queried < vec4<u32>(queries())) & (keys <= at) & (keys >= before);
    return select(vec4<f32>(0.0), exp(scores * sizes.scale - lses), seen);
}

/// Gradients of their scores.
fn four_slopes(
    queried: vec4<u32>,
    shares: vec4<f32>,
    dp: vec4<f32>,
    deltas: vec4<f32>,
) -> vec4<f32> {
    // A lone key has all the weight whatever its score.
    let lone = (queried < vec4<u32>(group_len())) | vec4<bool>(sizes.window == 1u);
    return select(shares * (dp - deltas) * sizes.scale, vec4<f32>(0.0), lone);
}

/// One after the last query that sees a key up to `last`: a window's length after it.
fn queries_end(last: u32) -> u32 {
    return min(sizes.tokens, last + min(sizes.window, sizes.tokens)) * group_len();
}
