// `dk` and `dv`: rows are keys, columns the queries of all heads that read them.

@group(0) @binding(6) var<storage, read_write> dk: array<f32>;
@group(0) @binding(7) var<storage, read_write> dv: array<f32>;

fn left(operand: u32, row: u32, d: u32) -> f32 {
    return key_element(operand, row, d);
}

fn right(operand: u32, col: u32, d: u32) -> f32 {
    return query_element(operand, col, d);
}
