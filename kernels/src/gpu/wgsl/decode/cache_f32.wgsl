// A cache of f32.

@group(0) @binding(6) var<storage, read_write> keys: array<f32>;
@group(0) @binding(7) var<storage, read_write> values: array<f32>;

/// Element `at` is column `col` of its head.
fn store(is_value: bool, at: u32, place0: u32, col: u32, value: f32) {
    if is_value {
        values[at] = value;
    } else {
        keys[at] = value;
    }
}
