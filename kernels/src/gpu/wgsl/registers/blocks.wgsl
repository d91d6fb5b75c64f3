// Tiles in registers: nothing goes through workgroup memory. A workgroup is 8 invocations, each with
// four rows of the tile, 8 apart. What the rows are multiplied with, four members of a subgroup read
// for all of it, a vector each. Blocks of 4 x 4 are matrices.

/// Rows of a tile.
const ROWS: u32 = 32u;
/// From one row of an invocation to its next.
const APART: u32 = 8u;

/// Which vector of four this invocation reads.
fn member() -> u32 {
    return subgroupExclusiveAdd(1u) % 4u;
}

/// The vectors that the four members have, as columns.
fn of_members(mine: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupShuffle(mine, 0u),
        subgroupShuffle(mine, 1u),
        subgroupShuffle(mine, 2u),
        subgroupShuffle(mine, 3u),
    );
}
