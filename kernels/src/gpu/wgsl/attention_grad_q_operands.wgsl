// `dq`: rows are queries, columns keys.

@group(0) @binding(6) var<storage, read_write> dq: array<f32>;

fn left(operand: u32, row: u32, d: u32) -> f32 {
    return query_element(operand, row, d);
}

fn right(operand: u32, col: u32, d: u32) -> f32 {
    return key_element(operand, col, d);
}
