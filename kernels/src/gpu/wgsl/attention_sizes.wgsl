// What the attention kernels for many tokens and their gradients are told, and how they count.
//
// Queries are counted with the heads of a group side by side, so that all heads that read the same
// keys share a tile: query i is token i / group, head i % group of the group.

/// The score of a key that is not seen.
const LOWEST: f32 = -1e30;

struct Sizes {
    tokens: u32,
    /// Position of the first token.
    pos: u32,
    heads: u32,
    kv_heads: u32,
    /// D.
    width: u32,
    /// How many positions a token sees.
    window: u32,
    /// Elements from one key to the next.
    kv_stride: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

/// Which keys and values this workgroup works with.
var<private> kv_head: u32;

fn group_len() -> u32 {
    return sizes.heads / sizes.kv_heads;
}

fn queries() -> u32 {
    return sizes.tokens * group_len();
}

/// Number of the (token, head) of query `i` of a group, in (T, H).
fn query(i: u32, kv_head: u32) -> u32 {
    let len = group_len();
    return i / len * sizes.heads + kv_head * len + i % len;
}

fn position(i: u32) -> u32 {
    return sizes.pos + i / group_len();
}

/// The first position that a token at `at` sees.
fn first_seen(at: u32) -> u32 {
    return at + 1u - min(at + 1u, sizes.window);
}
