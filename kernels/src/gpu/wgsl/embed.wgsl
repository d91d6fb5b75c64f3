// Rows of a table: eight columns of a token per invocation. Every page writes the tokens it holds.

struct Sizes {
    page_rows: u32,
    page_cols: u32,
    page_units: u32,
    /// The page's first row.
    first: u32,
    tokens: u32,
    scale: f32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups) * 64u + lane;
    let parts = sizes.page_units * 4u;
    let t = i / parts;
    if t >= sizes.tokens || ids[t] < sizes.first || ids[t] - sizes.first >= sizes.page_rows {
        return;
    }
    let part = i % parts;
    let values = eight(ids[t] - sizes.first, part / 4u, part % 4u);
    let col = part * 8u;
    for (var j = 0u; j < 4u; j++) {
        if col + j < sizes.page_cols {
            y[t * sizes.page_cols + col + j] = values.lo[j] * sizes.scale;
        }
        if col + 4u + j < sizes.page_cols {
            y[t * sizes.page_cols + col + 4u + j] = values.hi[j] * sizes.scale;
        }
    }
}
