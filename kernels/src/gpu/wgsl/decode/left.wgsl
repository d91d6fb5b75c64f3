// What the next kernel's pairs need of this workgroup's values: their part in `y aᵀ`, for every row
// of one `a` or of two (see `given.wgsl`). Sizes name the next kernel's norm, `next_norm`, the pairs
// `next_a` and `next_second_a` with their ranks, and how wide `y` is, `next_cols`.

/// The workgroup's values.
var<workgroup> own: array<f32, 256>;

/// `count` values of `own`, which are columns of `y` from `column` on, by workgroup `group`.
fn leave(lane: u32, group: u32, column: u32, count: u32) {
    let ranks = sizes.next_rank + sizes.next_second_rank;
    if lane >= ranks || column >= sizes.next_cols {
        return;
    }
    var a = sizes.next_a + lane * sizes.next_cols;
    if lane >= sizes.next_rank {
        a = sizes.next_second_a + (lane - sizes.next_rank) * sizes.next_cols;
    }
    var sum = 0.0;
    for (var c = column; c < column + count; c++) {
        var value = own[c - column];
        if sizes.next_norm != NONE {
            value *= floats[sizes.next_norm + c];
        }
        sum += value * adapter[a + c];
    }
    left[group * ranks + lane] = sum;
}
