// What the attention kernels share. A workgroup of 128 has a tile of 16 rows and goes through
// columns 32 at a time. Rows and columns are queries or keys: a kernel says what they are by
// `left` and `right`, an element of a row's or of a column's vector. Invocation i works on row
// i / 8; of every tile of columns it has four, 8 apart.
//
// Queries are counted with the heads of a group side by side, so that all heads that read the same
// keys share a tile: query i is token i / group, head i % group of the group.

const ROWS: u32 = 16u;
const COLS: u32 = 32u;
const CHUNK: u32 = 32u;
const LANES: u32 = 8u;
/// Columns of a result that one workgroup makes; wider heads take several workgroups.
const SLICE: u32 = 128u;
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

var<workgroup> left_tile: array<f32, 512>;
/// Rows are 33 apart, so that lanes meet in no bank.
var<workgroup> right_tile: array<f32, 1056>;
var<workgroup> weights: array<f32, 512>;

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

fn load_right(operand: u32, lane: u32, col0: u32, d0: u32) {
    for (var i = lane; i < COLS * CHUNK; i += 128u) {
        let d = d0 + i % CHUNK;
        var value = 0.0;
        if d < sizes.width {
            value = right(operand, col0 + i / CHUNK, d);
        }
        right_tile[i / CHUNK * 33u + i % CHUNK] = value;
    }
}

/// Dot products of the invocation's row with its four columns of the tile at `col0`.
fn products(operand: u32, lane: u32, row0: u32, col0: u32) -> vec4<f32> {
    let row = lane / LANES;
    let col = lane % LANES;
    var sums = vec4<f32>(0.0);
    for (var d0 = 0u; d0 < sizes.width; d0 += CHUNK) {
        for (var i = lane; i < ROWS * CHUNK; i += 128u) {
            let d = d0 + i % CHUNK;
            var value = 0.0;
            if d < sizes.width {
                value = left(operand, row0 + i / CHUNK, d);
            }
            left_tile[i] = value;
        }
        load_right(operand, lane, col0, d0);
        workgroupBarrier();
        for (var d = 0u; d < CHUNK; d++) {
            sums += left_tile[row * CHUNK + d] * vec4<f32>(
                right_tile[col * 33u + d],
                right_tile[(col + 8u) * 33u + d],
                right_tile[(col + 16u) * 33u + d],
                right_tile[(col + 24u) * 33u + d],
            );
        }
        workgroupBarrier();
    }
    return sums;
}

fn put_weights(lane: u32, values: vec4<f32>) {
    let at = lane / LANES * COLS + lane % LANES;
    weights[at] = values.x;
    weights[at + 8u] = values.y;
    weights[at + 16u] = values.z;
    weights[at + 24u] = values.w;
    workgroupBarrier();
}

/// Adds to the invocation's part of its row the sum of the tile's columns times their weights: of
/// every 32 elements from `slice0` on it has four, 8 apart.
fn gather(
    operand: u32,
    lane: u32,
    col0: u32,
    slice0: u32,
    sums: ptr<function, array<vec4<f32>, 4>>,
) {
    let row = lane / LANES;
    let mine = lane % LANES;
    for (var chunk = 0u; chunk < SLICE / CHUNK; chunk++) {
        let d0 = slice0 + chunk * CHUNK;
        if d0 < sizes.width {
            load_right(operand, lane, col0, d0);
            workgroupBarrier();
            var sum = (*sums)[chunk];
            for (var col = 0u; col < COLS; col++) {
                let at = col * 33u + mine;
                sum += weights[row * COLS + col] * vec4<f32>(
                    right_tile[at], right_tile[at + 8u], right_tile[at + 16u], right_tile[at + 24u],
                );
            }
            (*sums)[chunk] = sum;
            workgroupBarrier();
        }
    }
}
