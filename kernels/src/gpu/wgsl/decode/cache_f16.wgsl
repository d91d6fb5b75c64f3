// A cache of halves: an even column is written with its neighbour, which the same workgroup made.

@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> values: array<u32>;

/// Element `at` is column `col` of its head.
fn store(is_value: bool, at: u32, place0: u32, col: u32, value: f32) {
    if (col & 1u) == 1u {
        return;
    }
    let word = pack2x16float(vec2<f32>(value, made[place(col + 1u) - place0]));
    if is_value {
        values[at >> 1u] = word;
    } else {
        keys[at >> 1u] = word;
    }
}
