//! Rows of the embedding table.

use super::cx::Cx;
use super::weight::Weight;

/// `y (T,C)`: row `ids[t]` of the table, dequantized and scaled.
///
/// # Panics
/// If an id is beyond the table: ids are checked where they enter.
pub(super) fn embed(cx: &Cx<'_>, ids: &[u32], table: Weight<'_>, scale: f32, y: &mut [f32]) {
    cx.rows(y, table.cols, |y| {
        for t in y.rows() {
            let (id, row) = (ids[t] as usize, y.row(t));
            assert!(id < table.rows, "id {id} of a table of {} rows", table.rows);
            table.quant.dequantize(table.row(id), row);
            if scale != 1.0 {
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
    });
}
