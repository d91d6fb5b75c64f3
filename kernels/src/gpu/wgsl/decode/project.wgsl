// Queries, keys and values of one token: three linears of the normed stream with bias and pair, a
// norm per head of queries and keys, rope, and the way into the cache. A workgroup makes `share`
// places of a head, all of them where the heads are normed.

struct Sizes {
    q: u32,
    k: u32,
    v: u32,
    cols: u32,
    norm: u32,
    eps: f32,
    q_bias: u32,
    k_bias: u32,
    v_bias: u32,
    q_norm: u32,
    k_norm: u32,
    head_eps: f32,
    q_a: u32,
    k_a: u32,
    v_a: u32,
    q_b: u32,
    k_b: u32,
    v_b: u32,
    q_rank: u32,
    k_rank: u32,
    v_rank: u32,
    q_scale: f32,
    k_scale: f32,
    v_scale: f32,
    heads: u32,
    kv_heads: u32,
    /// D, and how many of its columns turn.
    width: u32,
    dims: u32,
    share: u32,
    pos: u32,
    /// From the lowest bit on: which of q, k and v are of the second block type; whether
    /// neighbouring columns turn together.
    flags: u32,
    lanes: u32,
}
var<immediate> sizes: Sizes;

const INTERLEAVED: u32 = 8u;

/// The queries (1,H*D).
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
/// The cosines of the token's pairs, then the sines.
@group(0) @binding(5) var<storage, read_write> turns: array<f32>;

/// One of the three linears.
struct Part {
    panel: Panel,
    second: bool,
    bias: u32,
    norm: u32,
    a: u32,
    b: u32,
    rank: u32,
    scale: f32,
}

/// What a workgroup has made, by place.
var<workgroup> made: array<f32, 256>;

/// Queries are 0, keys 1, values 2.
fn part(which: u32) -> Part {
    let s = sizes;
    let units = ceil_div(s.cols, UNIT);
    let second = ((s.flags >> which) & 1u) == 1u;
    let kv_rows = s.kv_heads * s.width;
    if which == 0u {
        let panel = Panel(s.q, s.heads * s.width, s.cols, units);
        return Part(panel, second, s.q_bias, s.q_norm, s.q_a, s.q_b, s.q_rank, s.q_scale);
    }
    if which == 1u {
        let panel = Panel(s.k, kv_rows, s.cols, units);
        return Part(panel, second, s.k_bias, s.k_norm, s.k_a, s.k_b, s.k_rank, s.k_scale);
    }
    let panel = Panel(s.v, kv_rows, s.cols, units);
    return Part(panel, second, s.v_bias, NONE, s.v_a, s.v_b, s.v_rank, s.v_scale);
}

fn weights(p: Part, row: u32, i: u32) -> Eight {
    if p.second {
        return second_eight(p.panel, row, i / 4u, i % 4u);
    }
    return first_eight(p.panel, row, i / 4u, i % 4u);
}

/// The column of a head at a place: columns that turn together have neighbouring places.
fn column(place: u32) -> u32 {
    if place >= sizes.dims || (sizes.flags & INTERLEAVED) != 0u {
        return place;
    }
    return place / 2u + place % 2u * (sizes.dims / 2u);
}

/// Its inverse.
fn place(column: u32) -> u32 {
    let half = sizes.dims / 2u;
    if column >= sizes.dims || (sizes.flags & INTERLEAVED) != 0u {
        return column;
    }
    return select(2u * column, 2u * (column - half) + 1u, column >= half);
}

/// `count` rows of a head, from `place0` on, into `made`.
fn make(lane: u32, p: Part, head: u32, place0: u32, count: u32) {
    let scale = inverse_rms(lane);
    put_thin(lane, p.a, p.rank, 0u);
    let l = lane % sizes.lanes;
    for (var first = 0u; first < count; first += 1024u / sizes.lanes) {
        let mine = first + lane / sizes.lanes * 4u;
        var rows = vec4<u32>(0u);
        for (var r = 0u; r < 4u; r++) {
            rows[r] = head * sizes.width + column(place0 + min(mine + r, count - 1u));
        }
        var sums = vec4<f32>(0.0);
        for (var i = l; i < p.panel.units * 4u; i += sizes.lanes) {
            let xs = inputs(i);
            for (var r = 0u; r < 4u; r++) {
                sums[r] += product(weights(p, rows[r], i), xs);
            }
        }
        let totals = team_total(lane, sizes.lanes, sums);
        if l < 4u && mine + l < count {
            let row = rows[l];
            var value = scale * (totals[l] + p.scale * pair(p.b, row, p.rank, 0u));
            if p.bias != NONE {
                value += floats[p.bias + row];
            }
            made[mine + l] = value;
        }
    }
    workgroupBarrier();
}

/// `w x / rms(x)` over the head.
fn norm_head(lane: u32, norm: u32) {
    var value = 0.0;
    if lane < sizes.width {
        value = made[lane];
    }
    let squares = team_total(lane, 256u, vec4<f32>(value * value)).x;
    let scale = 1.0 / sqrt(squares / f32(sizes.width) + sizes.head_eps);
    if lane < sizes.width {
        made[lane] = value * scale * floats[norm + column(lane)];
    }
    workgroupBarrier();
}

fn turn(lane: u32, place0: u32, count: u32) {
    let first = lane * 2u;
    if first + 1u < count && place0 + first < sizes.dims {
        let i = (place0 + first) / 2u;
        let cosine = turns[i];
        let sine = turns[sizes.dims / 2u + i];
        let a = made[first];
        let b = made[first + 1u];
        made[first] = a * cosine - b * sine;
        made[first + 1u] = a * sine + b * cosine;
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let per_head = ceil_div(sizes.width, sizes.share);
    let all = group.x / per_head;
    let place0 = group.x % per_head * sizes.share;
    let count = min(sizes.share, sizes.width - place0);
    var which = 0u;
    var head = all;
    if all >= sizes.heads {
        which = select(1u, 2u, all >= sizes.heads + sizes.kv_heads);
        head = (all - sizes.heads) % sizes.kv_heads;
    }
    let p = part(which);
    make(lane, p, head, place0, count);
    if p.norm != NONE {
        norm_head(lane, p.norm);
    }
    if which < 2u {
        turn(lane, place0, count);
    }
    if lane >= count {
        return;
    }
    let col = column(place0 + lane);
    if which == 0u {
        q[head * sizes.width + col] = made[lane];
    } else {
        let at = (sizes.pos * sizes.kv_heads + head) * sizes.width + col;
        store(which == 2u, at, place0, col, made[lane]);
    }
}
