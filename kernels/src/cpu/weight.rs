//! A weight as the kernels read it: straight from the file's layout.

use crate::quant::Quant;

/// A frozen weight (O, I) = (`rows`, `cols`): rows of blocks.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The block type.
    pub quant: Quant,
    /// O.
    pub rows: usize,
    /// I: a multiple of the block's length.
    pub cols: usize,
    /// All rows.
    pub bytes: &'a [u8],
}

impl<'a> Weight<'a> {
    /// The bytes of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u8] {
        let bytes = self.bytes.len() / self.rows;
        &self.bytes[row * bytes..][..bytes]
    }

    /// # Panics
    /// Unless the bytes are those of the shape.
    pub(super) fn check(&self) {
        let bytes = self.quant.row_bytes(self.cols).map(|row| row * self.rows);
        assert_eq!(bytes, Some(self.bytes.len()), "bytes of a {:?} weight", self.quant);
    }
}
