// A cache of halves: two elements per index, rows padded to whole words.

@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

const EACH: u32 = 2u;

fn store(at: u32, k: vec2<f32>, v: vec2<f32>) {
    keys[at] = pack2x16float(k);
    values[at] = pack2x16float(v);
}
