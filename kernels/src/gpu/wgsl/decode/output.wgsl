// A linear with its pair, added to the stream: `y = x Wᵀ + bias + scale (x aᵀ) bᵀ + residual`.

struct Sizes {
    /// The panel, and the column of `y` that its first row makes.
    panel: u32,
    rows: u32,
    cols: u32,
    column: u32,
    bias: u32,
    has_residual: u32,
    a: u32,
    b: u32,
    rank: u32,
    scale: f32,
    lanes: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(4) var<storage, read_write> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn finish(row: u32, sum: f32) {
    let column = sizes.column + row;
    var value = sum + sizes.scale * pair(sizes.b, column, sizes.rank, 0u);
    if sizes.bias != NONE {
        value += floats[sizes.bias + column];
    }
    if sizes.has_residual != 0u {
        value += residual[column];
    }
    y[column] = value;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    put_thin(lane, sizes.a, sizes.rank, 0u);
    let l = lane % sizes.lanes;
    let row0 = (flat(group, groups) * (256u / sizes.lanes) + lane / sizes.lanes) * 4u;
    let panel = Panel(sizes.panel, sizes.rows, sizes.cols, ceil_div(sizes.cols, UNIT));
    var sums = vec4<f32>(0.0);
    for (var i = l; i < panel.units * 4u; i += sizes.lanes) {
        let xs = inputs(i);
        for (var r = 0u; r < 4u; r++) {
            if row0 + r < sizes.rows {
                sums[r] += product(first_eight(panel, row0 + r, i / 4u, i % 4u), xs);
            }
        }
    }
    let totals = team_total(lane, sizes.lanes, sums);
    if l < 4u && row0 + l < sizes.rows {
        finish(row0 + l, totals[l]);
    }
}
