// Keys and values in f32: a program's own rows, or a cache.

@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;

fn key(i: u32) -> f32 {
    return k[i];
}

fn value(i: u32) -> f32 {
    return v[i];
}
