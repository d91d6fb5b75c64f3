//! Rows of the embedding table.

use super::{Cx, WeightView};

/// `y (T,C)`: row `ids[t]` of the table, dequantized and scaled.
///
/// # Panics
/// If an id is beyond the table: ids are checked where they enter.
pub(super) fn embed(cx: &Cx<'_>, ids: &[u32], table: &WeightView<'_>, scale: f32, y: &mut [f32]) {
    cx.rows(y, table.cols, |y| {
        for t in y.rows() {
            let row = y.row(t);
            table.dequantize_row(ids[t] as usize, row);
            if scale != 1.0 {
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
    });
}
