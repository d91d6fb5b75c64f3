// Rows are queries, columns keys. What is beyond the last of either counts nowhere, whatever it is.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(3) var<storage, read_write> o: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

fn left(operand: u32, row: u32, d: u32) -> f32 {
    return q[query(min(row, queries() - 1u), kv_head) * sizes.width + d];
}

/// Operand 0 is the keys, 1 the values.
fn right(operand: u32, col: u32, d: u32) -> f32 {
    let last = sizes.pos + sizes.tokens - 1u;
    let at = min(col, last) * sizes.kv_stride + kv_head * sizes.width + d;
    if operand == 0u {
        return key(at);
    }
    return value(at);
}
