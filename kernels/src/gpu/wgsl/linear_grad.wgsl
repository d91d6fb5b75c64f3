// `dy W`: a tile of 64 tokens times 64 columns per workgroup, 4 x 4 per invocation, 32 rows of the
// weight at a time, unpacked as the forward product unpacks them.

struct Sizes {
    page_rows: u32,
    page_cols: u32,
    page_units: u32,
    tokens: u32,
    /// The rows of the page that are multiplied, and the column of `dy` of the first one.
    first: u32,
    count: u32,
    column: u32,
    dy_cols: u32,
    /// Whether another page's product is there already.
    add: u32,
    /// Rank of the LoRA pair, 0 without one.
    rank: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(1) var<storage, read_write> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
/// `dy b` (T,R), and the down projection (R,I).
@group(0) @binding(3) var<storage, read_write> thin: array<f32>;
@group(0) @binding(4) var<storage, read_write> lora_a: array<f32>;

var<workgroup> dy_tile: array<f32, 2048>;
var<workgroup> w_tile: array<f32, 2048>;

fn finish(t: u32, col: u32, sum: f32) {
    if t >= sizes.tokens || col >= sizes.page_cols {
        return;
    }
    let at = t * sizes.page_cols + col;
    var value = sum;
    if sizes.add != 0u {
        value += dx[at];
    }
    if sizes.rank > 0u {
        var pair = 0.0;
        for (var r = 0u; r < sizes.rank; r++) {
            pair += thin[t * sizes.rank + r] * lora_a[r * sizes.page_cols + col];
        }
        value += sizes.scale * pair;
    }
    dx[at] = value;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col0 = group.x * 64u;
    let t0 = group.y * 64u;
    let tx = (lane % 16u) * 4u;
    let ty = (lane / 16u) * 4u;
    var sums: array<vec4<f32>, 4>;
    for (var row0 = 0u; row0 < sizes.count; row0 += 32u) {
        // Eight columns of one row of the weight.
        let row = row0 + lane / 8u;
        let unit = col0 / UNIT + (lane % 8u) / 4u;
        var weights = Eight(vec4<f32>(0.0), vec4<f32>(0.0));
        if row < sizes.count && unit < sizes.page_units {
            weights = eight(sizes.first + row, unit, lane % 4u);
        }
        let to = (lane / 8u) * 64u + (lane % 8u) * 8u;
        for (var j = 0u; j < 4u; j++) {
            w_tile[to + j] = weights.lo[j];
            w_tile[to + 4u + j] = weights.hi[j];
        }
        // Eight rows of one token's gradient.
        let t = t0 + lane / 4u;
        for (var j = 0u; j < 8u; j++) {
            let o = (lane % 4u) * 8u + j;
            var value = 0.0;
            if t < sizes.tokens && row0 + o < sizes.count {
                value = dy[t * sizes.dy_cols + sizes.column + row0 + o];
            }
            dy_tile[o * 64u + lane / 4u] = value;
        }
        workgroupBarrier();
        for (var o = 0u; o < 32u; o++) {
            let at = o * 64u;
            let w = vec4<f32>(
                w_tile[at + tx], w_tile[at + tx + 1u], w_tile[at + tx + 2u], w_tile[at + tx + 3u],
            );
            sums[0] += dy_tile[at + ty] * w;
            sums[1] += dy_tile[at + ty + 1u] * w;
            sums[2] += dy_tile[at + ty + 2u] * w;
            sums[3] += dy_tile[at + ty + 3u] * w;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            finish(t0 + ty + i, col0 + tx + j, sums[i][j]);
        }
    }
}
