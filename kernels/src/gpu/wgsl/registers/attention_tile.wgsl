// What the attention kernels share: a tile of 32 rows, and columns 16 at a time. Rows and columns
// are queries or keys, as `left` and `right` say.

const COLS: u32 = 16u;
/// Columns of a result that one workgroup makes; wider heads take several workgroups.
const SLICE: u32 = 32u;

/// Of the invocation's four rows, what belongs to the columns of a tile, four in each block.
alias Scores = array<mat4x4<f32>, 4>;
/// Of the invocation's four rows, a slice of a result, four elements in each block.
alias Sums = array<mat4x4<f32>, 8>;

/// Four elements of a row's vector; beyond its end they are zero.
fn row_part(operand: u32, row: u32, d: u32) -> vec4<f32> {
    let end = sizes.width - 1u;
    let values = vec4<f32>(
        left(operand, row, d),
        left(operand, row, min(d + 1u, end)),
        left(operand, row, min(d + 2u, end)),
        left(operand, row, min(d + 3u, end)),
    );
    return select(vec4<f32>(0.0), values, vec4<u32>(0u, 1u, 2u, 3u) + d <= vec4<u32>(end));
}

/// Four elements of a column's vector; beyond its end they are anything.
fn column_part(operand: u32, col: u32, d: u32) -> vec4<f32> {
    let end = sizes.width - 1u;
    return vec4<f32>(
        right(operand, col, min(d, end)),
        right(operand, col, min(d + 1u, end)),
        right(operand, col, min(d + 2u, end)),
        right(operand, col, min(d + 3u, end)),
    );
}

/// Dot products of the rows with the columns from `col` on, whose first is the member's.
fn products(operand: u32, row: u32, col: u32) -> Scores {
    var sums: Scores;
    for (var d = 0u; d < sizes.width; d += 4u) {
        let rows = mat4x4<f32>(
            row_part(operand, row, d),
            row_part(operand, row + APART, d),
            row_part(operand, row + 2u * APART, d),
            row_part(operand, row + 3u * APART, d),
        );
        for (var j = 0u; j < 4u; j++) {
            sums[j] += transpose(of_members(column_part(operand, col + 4u * j, d))) * rows;
        }
    }
    return sums;
}

/// Adds the sum of the columns times their weights.
fn gather(
    operand: u32,
    col: u32,
    slice0: u32,
    weights: ptr<function, Scores>,
    sums: ptr<function, Sums>,
) {
    for (var i = 0u; i < SLICE / 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let block = of_members(column_part(operand, col + 4u * j, slice0 + 4u * i));
            (*sums)[i] += block * (*weights)[j];
        }
    }
}
