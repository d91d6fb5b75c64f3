// What the attention kernels share. A workgroup of 128 has a tile of 16 rows and goes through
// columns 32 at a time. Rows and columns are queries or keys: a kernel says what they are by
// `left` and `right`, an element of a row's or of a column's vector. Invocation i works on row
// i / 8; of every tile of columns it has four, 8 apart.

const ROWS: u32 = 16u;
const COLS: u32 = 32u;
const CHUNK: u32 = 32u;
const LANES: u32 = 8u;
/// Columns of a result that one workgroup makes; wider heads take several workgroups.
const SLICE: u32 = 128u;

var<workgroup> left_tile: array<f32, 512>;
/// Rows are 33 apart, so that lanes meet in no bank.
var<workgroup> right_tile: array<f32, 1056>;
var<workgroup> weights: array<f32, 512>;

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
