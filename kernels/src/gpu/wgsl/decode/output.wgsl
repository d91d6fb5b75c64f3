// A linear with its pair, added to the stream: `y = x Wᵀ + bias + scale (x aᵀ) bᵀ + residual`.

struct Sizes {
    panel: u32,
    rows: u32,
    cols: u32,
    bias: u32,
    has_residual: u32,
    a: u32,
    b: u32,
    rank: u32,
    scale: f32,
    lanes: u32,
    parts: u32,
    next_norm: u32,
    next_a: u32,
    next_rank: u32,
    next_second_a: u32,
    next_second_rank: u32,
    next_cols: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(4) var<storage, read_write> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> given: array<f32>;
@group(0) @binding(7) var<storage, read_write> left: array<f32>;

fn finished(row: u32, sum: f32) -> f32 {
    var value = sum + sizes.scale * pair(sizes.b, row, sizes.rank, 0u);
    if sizes.bias != NONE {
        value += floats[sizes.bias + row];
    }
    if sizes.has_residual != 0u {
        value += residual[row];
    }
    return value;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    make_thin(lane, sizes.a, sizes.rank, 0u, 0u);
    let l = lane % sizes.lanes;
    let column = flat(group, groups) * (1024u / sizes.lanes);
    let mine = lane / sizes.lanes * 4u;
    let row0 = column + mine;
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
        let value = finished(row0 + l, totals[l]);
        y[row0 + l] = value;
        own[mine + l] = value;
    }
    workgroupBarrier();
    leave(lane, flat(group, groups), column, min(1024u / sizes.lanes, sizes.rows - column));
}
