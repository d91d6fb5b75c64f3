// A cache of f32: one element per index, rows as wide as the keys.

@group(0) @binding(2) var<storage, read_write> keys: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;

const EACH: u32 = 1u;

fn store(at: u32, k: vec2<f32>, v: vec2<f32>) {
    keys[at] = k.x;
    values[at] = v.x;
}
