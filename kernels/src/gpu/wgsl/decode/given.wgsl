// `x aᵀ` from what the kernel before this one has left of it: a sum per workgroup and row of `a`,
// first of the one pair, then of the other. Sizes name how many workgroups they were, `parts`; a
// kernel that was left nothing multiplies by itself.
//
// To do so in every workgroup would read each `a` from the cache as often as there are workgroups:
// at rank 8, 155 kB of Qwen2.5-0.5B's `down` for 11 kB of its weights. What is left is a few
// kilobytes.

/// Where the second pair begins in `thin`.
const SECOND: u32 = 64u;

fn gather_thin(lane: u32, first_rank: u32, second_rank: u32) {
    let ranks = first_rank + second_rank;
    // As many lanes a team as are needed for a row each: a power of two.
    let team = 1u << (32u - countLeadingZeros(max(ranks, 1u) - 1u));
    let r = lane % team;
    var sum = 0.0;
    if r < ranks {
        for (var part = lane / team; part < sizes.parts; part += 256u / team) {
            sum += given[part * ranks + r];
        }
    }
    lane_sums[lane].x = sum;
    workgroupBarrier();
    for (var stride = 128u; stride >= team; stride >>= 1u) {
        if lane < stride {
            lane_sums[lane].x += lane_sums[lane + stride].x;
        }
        workgroupBarrier();
    }
    if lane < ranks {
        thin[select(lane, SECOND + lane - first_rank, lane >= first_rank)] = lane_sums[lane].x;
    }
    workgroupBarrier();
}

/// `x aᵀ` of the pairs that begin at `a` and `second_a`.
fn make_thin(lane: u32, a: u32, rank: u32, second_a: u32, second_rank: u32) {
    if sizes.parts > 0u {
        gather_thin(lane, rank, second_rank);
    } else {
        put_thin(lane, a, rank, 0u);
        put_thin(lane, second_a, second_rank, SECOND);
    }
}
