// The first half of a feed-forward: `y = act(gate) up`, where gate and up are linears of the normed
// stream, each with its pair.

struct Sizes {
    gate: u32,
    up: u32,
    rows: u32,
    cols: u32,
    norm: u32,
    eps: f32,
    activation: u32,
    gate_a: u32,
    gate_b: u32,
    gate_rank: u32,
    gate_scale: f32,
    up_a: u32,
    up_b: u32,
    up_rank: u32,
    up_scale: f32,
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

@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> given: array<f32>;
@group(0) @binding(6) var<storage, read_write> left: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let scale = inverse_rms(lane);
    make_thin(lane, sizes.gate_a, sizes.gate_rank, sizes.up_a, sizes.up_rank);
    let l = lane % sizes.lanes;
    let column = flat(group, groups) * (1024u / sizes.lanes);
    let mine = lane / sizes.lanes * 4u;
    let row0 = column + mine;
    let gate = Panel(sizes.gate, sizes.rows, sizes.cols, ceil_div(sizes.cols, UNIT));
    let up = Panel(sizes.up, sizes.rows, sizes.cols, gate.units);
    var gates = vec4<f32>(0.0);
    var ups = vec4<f32>(0.0);
    for (var i = l; i < gate.units * 4u; i += sizes.lanes) {
        let xs = inputs(i);
        for (var r = 0u; r < 4u; r++) {
            if row0 + r < sizes.rows {
                gates[r] += product(first_eight(gate, row0 + r, i / 4u, i % 4u), xs);
                ups[r] += product(second_eight(up, row0 + r, i / 4u, i % 4u), xs);
            }
        }
    }
    let gate_totals = team_total(lane, sizes.lanes, gates);
    let up_totals = team_total(lane, sizes.lanes, ups);
    let row = row0 + l;
    if l < 4u && row < sizes.rows {
        let gate_pair = sizes.gate_scale * pair(sizes.gate_b, row, sizes.gate_rank, 0u);
        let up_pair = sizes.up_scale * pair(sizes.up_b, row, sizes.up_rank, SECOND);
        let gated = activate(sizes.activation, scale * (gate_totals[l] + gate_pair)).x;
        let value = gated * scale * (up_totals[l] + up_pair);
        y[row] = value;
        own[mine + l] = value;
    }
    workgroupBarrier();
    leave(lane, flat(group, groups), column, min(1024u / sizes.lanes, sizes.rows - column));
}
