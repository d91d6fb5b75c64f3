//! What a [`Buffer`](crate::Buffer) holds on the GPU, and how it gets there.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;

use super::context::Context;
use super::pack;
use super::page::{Place, Stretch};
use super::reading::read_bytes;
use crate::quant::Quant;
use crate::types::{Element, SharedBytes, WeightSource};

/// Memory of one buffer.
pub struct Storage {
    pub(super) element: Element,
    rows: usize,
    cols: usize,
    /// Whole rows each. What is not a weight has one.
    pub(super) panels: Vec<Panel>,
    /// Where a frozen weight came from.
    source: Option<(SharedBytes, Range<usize>)>,
    /// The values, once the host has asked for them; what the host writes clears it.
    pub(super) known: Mutex<Option<Arc<[f32]>>>,
}

/// Some rows of a buffer, in memory that can be bound at once.
pub(super) struct Panel {
    pub stretch: Stretch,
    pub first_row: usize,
    pub rows: usize,
}

/// Bytes that are handed to the driver at a time: it copies them once more.
const UPLOAD_BYTES: usize = 16 << 20;

impl Storage {
    /// Weights that are used together. Those of F32 lie in pages of their own: a page is either
    /// read only or written too, and kernels read norms and biases beside what they write.
    pub(super) fn weights(context: &Context, sources: Vec<WeightSource>) -> Vec<Storage> {
        let parts: Vec<Vec<Range<usize>>> =
            sources.iter().map(|source| rows_of_panels(context, source)).collect();
        let packed_bytes = |(source, rows): (&WeightSource, &Range<usize>)| {
            pack::page_bytes(source.quant, rows.len(), source.shape.1)
        };
        let mut made = [false, true].map(|floats| {
            let chosen = sources.iter().zip(&parts);
            let chosen = chosen.filter(|(source, _)| (source.quant == Quant::F32) == floats);
            let rows = chosen.flat_map(|(source, rows)| rows.iter().map(move |r| (source, r)));
            let lengths: Vec<usize> = rows.map(packed_bytes).collect();
            Stretch::together(context, &lengths).into_iter()
        });
        let weight = |(source, rows): (WeightSource, Vec<Range<usize>>)| {
            let stretches = &mut made[usize::from(source.quant == Quant::F32)];
            let stretches = stretches.take(rows.len());
            let panels = rows.iter().zip(stretches);
            let panels = panels.map(|(rows, stretch)| {
                upload(context, &stretch, &packed(&source, rows));
                Panel { stretch, first_row: rows.start, rows: rows.len() }
            });
            let panels = panels.collect();
            let WeightSource { bytes, range, shape: (rows, cols), quant } = source;
            let (element, source) = (Element::Value(quant), Some((bytes, range)));
            Storage { element, rows, cols, panels, source, known: Mutex::default() }
        };
        sources.into_iter().zip(parts).map(weight).collect()
    }

    /// Zeros that are used together; caches lie by themselves.
    pub(super) fn zeroed(
        context: &Context,
        shapes: &[(usize, usize)],
        element: Element,
    ) -> Vec<Storage> {
        let bytes = |&(rows, cols): &(usize, usize)| 4 * row_words(element, cols) * rows;
        let lengths: Vec<usize> = shapes.iter().map(bytes).collect();
        lengths.iter().for_each(|&bytes| context.expect_room(bytes));
        let stretches = Stretch::together(context, &lengths);
        let storage = |(&(rows, cols), stretch)| {
            let panels = vec![Panel { stretch, first_row: 0, rows }];
            Storage { element, rows, cols, panels, source: None, known: Mutex::default() }
        };
        shapes.iter().zip(stretches).map(storage).collect()
    }

    /// See [`Buffer::bytes`](crate::Buffer::bytes).
    pub fn bytes(&self) -> usize {
        match &self.source {
            Some((_, range)) => range.len(),
            None => 4 * row_words(self.element, self.cols) * self.rows,
        }
    }

    /// What one element is.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where byte `offset` is.
    pub(super) fn at(&self, offset: u64) -> Place<'_> {
        let Stretch { page, offset: first, .. } = &self.panels[0].stretch;
        (&page.buffer, first + offset)
    }

    fn put(&self, context: &Context, offset: u64, bytes: &[u8]) {
        let (buffer, offset) = self.at(offset);
        context.queue.write_buffer(buffer, offset, bytes);
    }

    pub(super) fn write(&self, context: &Context, offset: usize, values: &[f32]) {
        assert!(self.source.is_none(), "a frozen weight is not written");
        self.expect_within(offset, values.len());
        self.forget();
        match self.element {
            Element::Id => panic!("ids are written by write_ids"),
            Element::Value(Quant::F16) => self.write_halves(context, offset, values),
            Element::Value(_) => {
                self.put(context, 4 * offset as u64, bytemuck::cast_slice(values));
            }
        }
    }

    /// Rows are padded to whole words: reads the rows concerned, and writes them back.
    fn write_halves(&self, context: &Context, offset: usize, values: &[f32]) {
        let stride = 2 * row_words(self.element, self.cols);
        let rows = offset / self.cols..(offset + values.len()).div_ceil(self.cols);
        let mut halves = vec![0_u16; rows.len() * stride];
        let start = 2 * (rows.start * stride) as u64;
        if !read_bytes(context, self.at(start), bytemuck::cast_slice_mut(&mut halves)) {
            return;
        }
        for (i, &value) in values.iter().enumerate() {
            let at = offset + i;
            let to = &mut halves[(at / self.cols - rows.start) * stride + at % self.cols];
            *to = f16::from_f32(value).to_bits();
        }
        self.put(context, start, bytemuck::cast_slice(&halves));
    }

    pub(super) fn write_ids(&self, context: &Context, offset: usize, ids: &[u32]) {
        assert_eq!(self.element, Element::Id, "the buffer does not hold ids");
        self.expect_within(offset, ids.len());
        self.put(context, 4 * offset as u64, bytemuck::cast_slice(ids));
    }

    /// Zeros if the device has failed.
    pub(super) fn read_ids(&self, context: &Context, offset: usize, ids: &mut [u32]) {
        assert_eq!(self.element, Element::Id, "the buffer does not hold ids");
        self.expect_within(offset, ids.len());
        read_bytes(context, self.at(4 * offset as u64), bytemuck::cast_slice_mut(ids));
    }

    /// Where element `offset` of a buffer of f32 values is.
    pub(super) fn values_at(&self, offset: usize) -> Place<'_> {
        assert!(self.source.is_none(), "a frozen weight is not copied");
        self.at(4 * offset as u64)
    }

    /// As [`Storage::values_at`], for what the GPU is about to write.
    pub(super) fn written_at(&self, offset: usize) -> Place<'_> {
        self.forget();
        self.values_at(offset)
    }

    /// What the host knows is going to be wrong.
    pub(super) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Zeros if the device has failed.
    pub(super) fn read(&self, context: &Context, offset: usize, values: &mut [f32]) {
        self.expect_within(offset, values.len());
        let Element::Value(quant) = self.element else { panic!("the buffer holds ids") };
        if let Some((bytes, range)) = &self.source {
            assert!(
                offset.is_multiple_of(self.cols) && values.len().is_multiple_of(self.cols),
                "a weight is read in whole rows"
            );
            let row_bytes = quant.row_bytes(self.cols).expect("checked when made");
            let start = range.start + offset / self.cols * row_bytes;
            let len = values.len() / self.cols * row_bytes;
            quant.dequantize(&(**bytes).as_ref()[start..start + len], values);
            return;
        }
        if quant == Quant::F16 {
            let stride = 2 * row_words(self.element, self.cols);
            let rows = offset / self.cols..(offset + values.len()).div_ceil(self.cols);
            let mut halves = vec![0_u16; rows.len() * stride];
            let start = 2 * (rows.start * stride) as u64;
            read_bytes(context, self.at(start), bytemuck::cast_slice_mut(&mut halves));
            for (i, value) in values.iter_mut().enumerate() {
                let at = offset + i;
                let bits = halves[(at / self.cols - rows.start) * stride + at % self.cols];
                *value = f16::from_bits(bits).to_f32();
            }
            return;
        }
        read_bytes(context, self.at(4 * offset as u64), bytemuck::cast_slice_mut(values));
    }

    /// All values of a small buffer that is seldom written; `submit` hands over what was recorded
    /// for it, before it is read.
    pub(super) fn values(&self, context: &Context, submit: impl FnOnce()) -> Arc<[f32]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let values = known.get_or_insert_with(|| {
            submit();
            let mut values = vec![0.0; self.rows * self.cols];
            self.read(context, 0, &mut values);
            values.into()
        });
        values.clone()
    }

    fn expect_within(&self, offset: usize, len: usize) {
        assert!(
            offset + len <= self.rows * self.cols,
            "{len} elements from {offset} on of ({}, {})",
            self.rows,
            self.cols
        );
    }
}

/// Words of a row of what is not a weight: halves go two to a word.
fn row_words(element: Element, cols: usize) -> usize {
    if element == Element::Value(Quant::F16) { cols.div_ceil(2) } else { cols }
}

/// The rows of a weight's panels: one, unless it is too large for a page.
fn rows_of_panels(context: &Context, source: &WeightSource) -> Vec<Range<usize>> {
    let &WeightSource { shape: (rows, cols), quant, .. } = source;
    let mut most = rows;
    if pack::page_bytes(quant, rows, cols) > context.page_bytes {
        let row = pack::page_bytes(quant, 8, cols).div_ceil(8);
        most = (context.page_bytes.saturating_sub(16) / row).max(1);
    }
    let of = |first: usize| first..rows.min(first + most);
    (0..rows).step_by(most).map(of).collect()
}

fn packed(source: &WeightSource, rows: &Range<usize>) -> Vec<u8> {
    let &WeightSource { ref bytes, ref range, shape: (_, cols), quant } = source;
    let row_bytes = quant.row_bytes(cols).expect("checked by the caller");
    let [start, end] = [rows.start, rows.end].map(|row| range.start + row * row_bytes);
    pack::pack(quant, &(**bytes).as_ref()[start..end], rows.len(), cols)
}

fn upload(context: &Context, stretch: &Stretch, bytes: &[u8]) {
    if context.fault().is_some() {
        return;
    }
    for (i, part) in bytes.chunks(UPLOAD_BYTES).enumerate() {
        let offset = stretch.offset + (i * UPLOAD_BYTES) as u64;
        if part.len().is_multiple_of(4) {
            context.queue.write_buffer(&stretch.page.buffer, offset, part);
        } else {
            let mut padded = part.to_vec();
            padded.resize(part.len().next_multiple_of(4), 0);
            context.queue.write_buffer(&stretch.page.buffer, offset, &padded);
        }
        // The driver's copy is freed when it has arrived.
        context.queue.submit([]);
    }
}
