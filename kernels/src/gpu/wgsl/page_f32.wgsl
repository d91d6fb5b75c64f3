// The page that weights of F32 lie in, among other values.

@group(0) @binding(0) var<storage, read_write> floats: array<f32>;
