//! Memory of the GPU: pages, and the stretches of them that buffers are.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;
use crate::fault::DeviceError;

/// Stretches begin at multiples of this: no adapter asks for more to bind one.
const ALIGN: u64 = 256;

/// One allocation, given back with the last stretch of it.
pub(super) struct Page {
    pub buffer: wgpu::Buffer,
    held: Arc<AtomicU64>,
}

impl Page {
    /// Zeros.
    pub fn new(context: &Context, bytes: u64) -> Page {
        let mut size = bytes.next_multiple_of(16).max(16);
        if size > context.buffer_bytes {
            context.fail(DeviceError::OutOfMemory);
            size = 16;
        }
        let buffer = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let held = context.held.fetch_add(size, Ordering::Relaxed) + size;
        context.held_most.fetch_max(held, Ordering::Relaxed);
        Page { buffer, held: context.held.clone() }
    }

    pub fn bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// All of it, to be bound.
    pub fn whole(&self) -> wgpu::BindingResource<'_> {
        self.buffer.as_entire_binding()
    }

    /// `bytes` from `offset` on, to be bound.
    pub fn part(&self, offset: u64, bytes: u64) -> wgpu::BindingResource<'_> {
        let size = NonZeroU64::new(bytes);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset, size })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.held.fetch_sub(self.buffer.size(), Ordering::Relaxed);
    }
}

/// A part of a page that can be bound by itself.
#[derive(Clone)]
pub(super) struct Stretch {
    pub page: Arc<Page>,
    /// In bytes.
    pub offset: u64,
    bytes: u64,
}

impl Stretch {
    /// Zeroed memory for things of so many bytes each that are used together: side by side in one
    /// page, or in as few as the adapter's limit allows.
    pub fn together(context: &Context, lengths: &[usize]) -> Vec<Stretch> {
        let limit = context.page_bytes as u64;
        let mut stretches = Vec::new();
        let mut rest = lengths;
        while !rest.is_empty() {
            let (mut places, mut end) = (Vec::new(), 0_u64);
            for &bytes in rest {
                let bytes = (bytes as u64).next_multiple_of(16).max(16);
                let offset = end.next_multiple_of(ALIGN);
                if offset > 0 && offset + bytes > limit {
                    break;
                }
                places.push((offset, bytes));
                end = offset + bytes;
            }
            rest = &rest[places.len()..];
            let page = Arc::new(Page::new(context, end));
            // A page that could not be made is a small one.
            let within = |(offset, bytes)| match offset + bytes <= page.bytes() {
                true => Stretch { page: page.clone(), offset, bytes },
                false => Stretch { page: page.clone(), offset: 0, bytes: page.bytes() },
            };
            stretches.extend(places.into_iter().map(within));
        }
        stretches
    }

    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        self.page.part(self.offset, self.bytes)
    }
}

/// A byte of a page.
pub(super) type Place<'a> = (&'a wgpu::Buffer, u64);
