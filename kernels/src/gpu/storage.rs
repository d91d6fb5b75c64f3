//! What a [`Buffer`](crate::Buffer) holds on the GPU, and how it gets there and back.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use half::f16;

use super::context::Context;
use super::pack;
use super::recorder::Recorder;
use crate::device::SharedBytes;
use crate::fault::DeviceError;
use crate::program::Element;
use crate::quant::Quant;

/// Memory of one buffer.
pub struct Storage {
    pub(super) element: Element,
    rows: usize,
    cols: usize,
    /// Whole rows each. What is not a weight has one page.
    pub(super) pages: Vec<Page>,
    /// Where a frozen weight came from.
    source: Option<(SharedBytes, Range<usize>)>,
    /// The values, once the host has asked for them; what the host writes clears it.
    pub(super) known: Mutex<Option<Arc<[f32]>>>,
}

/// Some rows of a buffer, in memory that can be bound at once.
pub(super) struct Page {
    pub buffer: wgpu::Buffer,
    pub first_row: usize,
    pub rows: usize,
}

/// Bytes that are handed to the driver at a time: it copies them once more.
const UPLOAD_BYTES: usize = 16 << 20;

impl Storage {
    pub(super) fn weight(
        context: &Context,
        bytes: SharedBytes,
        range: Range<usize>,
        (rows, cols): (usize, usize),
        quant: Quant,
    ) -> Storage {
        let row_bytes = quant.row_bytes(cols).expect("checked by the caller");
        let per_page = rows_per_page(context, quant, rows, cols);
        let mut pages = Vec::new();
        for first_row in (0..rows).step_by(per_page) {
            let rows = per_page.min(rows - first_row);
            let start = range.start + first_row * row_bytes;
            let file = &(*bytes).as_ref()[start..start + rows * row_bytes];
            let packed = pack::pack(quant, file, rows, cols);
            let buffer = make(context, packed.len());
            upload(context, &buffer, &packed);
            pages.push(Page { buffer, first_row, rows });
        }
        let source = Some((bytes, range));
        Storage {
            element: Element::Value(quant),
            rows,
            cols,
            pages,
            source,
            known: Mutex::default(),
        }
    }

    pub(super) fn zeroed(
        context: &Context,
        (rows, cols): (usize, usize),
        element: Element,
    ) -> Storage {
        let bytes = 4 * row_words(element, cols) * rows;
        context.expect_room(bytes);
        let buffer = make(context, bytes);
        let pages = vec![Page { buffer, first_row: 0, rows }];
        Storage { element, rows, cols, pages, source: None, known: Mutex::default() }
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

    fn buffer(&self) -> &wgpu::Buffer {
        &self.pages[0].buffer
    }

    pub(super) fn write(&self, context: &Context, offset: usize, values: &[f32]) {
        assert!(self.source.is_none(), "a frozen weight is not written");
        self.expect_within(offset, values.len());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match self.element {
            Element::Id => panic!("ids are written by write_ids"),
            Element::Value(Quant::F16) => self.write_halves(context, offset, values),
            Element::Value(_) => {
                let bytes = bytemuck::cast_slice(values);
                context.queue.write_buffer(self.buffer(), 4 * offset as u64, bytes);
            }
        }
    }

    /// Rows are padded to whole words: reads the rows concerned, and writes them back.
    fn write_halves(&self, context: &Context, offset: usize, values: &[f32]) {
        let stride = 2 * row_words(self.element, self.cols);
        let rows = offset / self.cols..(offset + values.len()).div_ceil(self.cols);
        let mut halves = vec![0_u16; rows.len() * stride];
        let start = 2 * (rows.start * stride) as u64;
        if !read_bytes(context, self.buffer(), start, bytemuck::cast_slice_mut(&mut halves)) {
            return;
        }
        for (i, &value) in values.iter().enumerate() {
            let at = offset + i;
            let to = &mut halves[(at / self.cols - rows.start) * stride + at % self.cols];
            *to = f16::from_f32(value).to_bits();
        }
        context.queue.write_buffer(self.buffer(), start, bytemuck::cast_slice(&halves));
    }

    pub(super) fn write_ids(&self, context: &Context, offset: usize, ids: &[u32]) {
        assert_eq!(self.element, Element::Id, "the buffer does not hold ids");
        self.expect_within(offset, ids.len());
        context.queue.write_buffer(self.buffer(), 4 * offset as u64, bytemuck::cast_slice(ids));
    }

    /// Zeros if the device has failed.
    pub(super) fn read_ids(&self, context: &Context, offset: usize, ids: &mut [u32]) {
        assert_eq!(self.element, Element::Id, "the buffer does not hold ids");
        self.expect_within(offset, ids.len());
        let bytes = bytemuck::cast_slice_mut(ids);
        read_bytes(context, self.buffer(), 4 * offset as u64, bytes);
    }

    /// Where element `offset` of a buffer of f32 values is.
    pub(super) fn values_at(&self, offset: usize) -> (&wgpu::Buffer, u64) {
        assert!(self.source.is_none(), "a frozen weight is not copied");
        (self.buffer(), 4 * offset as u64)
    }

    /// As [`Storage::values_at`], for what the GPU is about to write.
    pub(super) fn written_at(&self, offset: usize) -> (&wgpu::Buffer, u64) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.values_at(offset)
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
            read_bytes(context, self.buffer(), start, bytemuck::cast_slice_mut(&mut halves));
            for (i, value) in values.iter_mut().enumerate() {
                let at = offset + i;
                let bits = halves[(at / self.cols - rows.start) * stride + at % self.cols];
                *value = f16::from_bits(bits).to_f32();
            }
            return;
        }
        let bytes = bytemuck::cast_slice_mut(values);
        read_bytes(context, self.buffer(), 4 * offset as u64, bytes);
    }

    /// All values of a small buffer that is seldom written.
    pub(super) fn values(&self, context: &Context, recorder: &mut Recorder) -> Arc<[f32]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let values = known.get_or_insert_with(|| {
            recorder.submit(context);
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

fn rows_per_page(context: &Context, quant: Quant, rows: usize, cols: usize) -> usize {
    let fits = |rows| pack::page_bytes(quant, rows, cols) <= context.page_bytes;
    if fits(rows) {
        return rows;
    }
    let row = pack::page_bytes(quant, 8, cols).div_ceil(8);
    (context.page_bytes.saturating_sub(16) / row).max(1)
}

fn make(context: &Context, bytes: usize) -> wgpu::Buffer {
    let mut size = (bytes as u64).next_multiple_of(16).max(16);
    if size > context.buffer_bytes {
        context.fail(DeviceError::OutOfMemory);
        size = 16;
    }
    context.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Memory that programs write and read by themselves.
pub(super) fn scratch(context: &Context, bytes: usize) -> wgpu::Buffer {
    make(context, bytes)
}

fn upload(context: &Context, buffer: &wgpu::Buffer, bytes: &[u8]) {
    if context.fault().is_some() {
        return;
    }
    for (i, part) in bytes.chunks(UPLOAD_BYTES).enumerate() {
        if part.len().is_multiple_of(4) {
            context.queue.write_buffer(buffer, (i * UPLOAD_BYTES) as u64, part);
        } else {
            let mut padded = part.to_vec();
            padded.resize(part.len().next_multiple_of(4), 0);
            context.queue.write_buffer(buffer, (i * UPLOAD_BYTES) as u64, &padded);
        }
        // The driver's copy is freed when it has arrived.
        context.queue.submit([]);
    }
}

/// How long an answer may be on its way between threads once the GPU has finished.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits for all that was submitted. `false`, and nothing read, if the device has failed.
fn read_bytes(context: &Context, buffer: &wgpu::Buffer, offset: u64, bytes: &mut [u8]) -> bool {
    if bytes.is_empty() || context.fault().is_some() {
        return context.fault().is_none();
    }
    let size = bytes.len() as u64;
    let staging = context.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder =
        context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, size);
    context.queue.submit([encoder.finish()]);
    let (sender, mapped) = std::sync::mpsc::channel();
    staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // Nobody waits any more if the device was lost meanwhile.
        let _ = sender.send(result);
    });
    let polled = context.device.poll(wgpu::PollType::wait_indefinitely());
    // Another thread's wait may have taken the answer, and be about to pass it on.
    match (polled, mapped.recv_timeout(ANSWER)) {
        (Ok(_), Ok(Ok(()))) => {}
        (polled, _) => {
            let why =
                polled.err().map_or_else(|| "it gives no memory back".into(), |e| e.to_string());
            context.fail(DeviceError::Lost { why });
            return false;
        }
    }
    match staging.slice(..).get_mapped_range() {
        Ok(view) => bytes.copy_from_slice(&view),
        Err(error) => context.fail(DeviceError::Lost { why: error.to_string() }),
    }
    staging.unmap();
    context.fault().is_none()
}
