// What kernels for one token share: products of rows of weights with its values `x` (1,I). A
// workgroup of 256 is split into teams of `lanes`, four rows a team. Neighbours in a team read
// neighbouring words, so that the weights stream through once.
//
// The page of packed weights is binding 0; norms, biases and weights of F32 are somewhere in
// `floats`, the pairs of an adapter in `adapter`. A kernel names its sizes `cols` (I) and `lanes`.

@group(0) @binding(1) var<storage, read_write> floats: array<f32>;
@group(0) @binding(2) var<storage, read_write> adapter: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

/// Where nothing is.
const NONE: u32 = 0xffffffffu;

/// `x aᵀ` of up to two pairs.
var<workgroup> thin: array<f32, 128>;

/// Eight columns of the input from `8 i` on.
fn inputs(i: u32) -> Eight {
    let c = i * 8u;
    return Eight(
        vec4<f32>(input(c), input(c + 1u), input(c + 2u), input(c + 3u)),
        vec4<f32>(input(c + 4u), input(c + 5u), input(c + 6u), input(c + 7u)),
    );
}

fn product(a: Eight, b: Eight) -> f32 {
    return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

/// The input times the down projection (rank,I) that begins at `a`, into `thin` from `to` on.
fn put_thin(lane: u32, a: u32, rank: u32, to: u32) {
    for (var r = 0u; r < rank; r += 4u) {
        // Beyond the last row the last one is read, and not kept.
        let rows = a + min(vec4<u32>(r, r + 1u, r + 2u, r + 3u), vec4<u32>(rank - 1u)) * sizes.cols;
        var sums = vec4<f32>(0.0);
        for (var c = lane; c < sizes.cols; c += 256u) {
            let row = rows + c;
            sums += input(c) * vec4<f32>(adapter[row.x], adapter[row.y], adapter[row.z], adapter[row.w]);
        }
        let totals = team_total(lane, 256u, sums);
        if lane < 4u && r + lane < rank {
            thin[to + r + lane] = totals[lane];
        }
    }
    workgroupBarrier();
}

/// Row `row` of the up projection (O,rank) that begins at `b`, times `thin` from `first` on.
fn pair(b: u32, row: u32, rank: u32, first: u32) -> f32 {
    var sum = 0.0;
    for (var r = 0u; r < rank; r++) {
        sum += thin[first + r] * adapter[b + row * rank + r];
    }
    return sum;
}
