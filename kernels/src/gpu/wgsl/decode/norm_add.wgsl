// A normed result, added to the stream: `y = w x / rms(x) + residual`. One workgroup; it leaves the
// parts of the next kernel's pairs that the others leave one by one (see `given.wgsl`).

struct Sizes {
    cols: u32,
    norm: u32,
    eps: f32,
    next_norm: u32,
    next_a: u32,
    next_rank: u32,
    next_second_a: u32,
    next_second_rank: u32,
    next_cols: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> left: array<f32>;

/// Where the second pair begins in `thin`.
const SECOND: u32 = 64u;

/// What the next kernel's pairs multiply: a column that the same invocation has written.
fn input(col: u32) -> f32 {
    if sizes.next_norm == NONE {
        return y[col];
    }
    return y[col] * floats[sizes.next_norm + col];
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var squares = 0.0;
    for (var c = lane; c < sizes.cols; c += 256u) {
        squares += x[c] * x[c];
    }
    let total = team_total(lane, 256u, vec4<f32>(squares)).x;
    let scale = 1.0 / sqrt(total / f32(sizes.cols) + sizes.eps);
    for (var c = lane; c < sizes.cols; c += 256u) {
        y[c] = residual[c] + x[c] * scale * floats[sizes.norm + c];
    }
    put_thin(lane, sizes.next_a, sizes.next_rank, 0u);
    put_thin(lane, sizes.next_second_a, sizes.next_second_rank, SECOND);
    if lane < sizes.next_rank {
        left[lane] = thin[lane];
    }
    if lane < sizes.next_second_rank {
        left[sizes.next_rank + lane] = thin[SECOND + lane];
    }
}
