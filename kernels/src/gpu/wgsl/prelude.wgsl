// What every kernel may use. Indices are in elements; `sizes` are the kernel's own immediates.

/// Number of a workgroup in a grid that was folded into two dimensions.
fn flat(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

fn ceil_div(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}
