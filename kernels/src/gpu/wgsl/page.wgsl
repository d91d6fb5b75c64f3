// The page that packed weights lie in.

@group(0) @binding(0) var<storage, read> page: array<vec4<u32>>;
