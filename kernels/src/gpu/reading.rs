//! Bytes on their way from the GPU to the host.
//!
//! They are copied by a submission like any other, into memory that the host can map. Waiting for
//! that submission leaves those behind it running: what is chosen on the GPU can be read while the
//! GPU goes on.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::context::Context;
use super::page::Place;
use crate::fault::DeviceError;

/// How long an answer may be on its way between threads once the GPU has finished.
const ANSWER: Duration = Duration::from_secs(10);

/// Memory that the GPU copies to and the host reads.
pub(super) fn landing(context: &Context, bytes: usize) -> wgpu::Buffer {
    context.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// What a submission copies to its landing, until it is read.
pub(super) struct Reading {
    landing: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Reading {
    /// Of the bytes that `submission` copies to `landing`.
    pub fn of(landing: wgpu::Buffer, submission: wgpu::SubmissionIndex) -> Reading {
        let (sender, mapped) = channel();
        landing.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody waits any more if the device was lost meanwhile.
            let _ = sender.send(result);
        });
        Reading { landing, submission, mapped }
    }

    /// Waits for the submission. `false`, and nothing read, if the device has failed.
    pub fn finish(self, context: &Context, bytes: &mut [u8]) -> bool {
        if context.fault().is_some() {
            return false;
        }
        let Reading { landing, submission, mapped } = self;
        let polled = context
            .device
            .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
        // Another thread's wait may have taken the answer, and be about to pass it on.
        match (polled, mapped.recv_timeout(ANSWER)) {
            (Ok(_), Ok(Ok(()))) => {}
            (polled, _) => {
                let why = polled.err();
                let why = why.map_or_else(|| "it gives no memory back".into(), |e| e.to_string());
                context.fail(DeviceError::Lost { why });
                return false;
            }
        }
        match landing.get_mapped_range(..) {
            Ok(view) => bytes.copy_from_slice(&view),
            Err(error) => context.fail(DeviceError::Lost { why: error.to_string() }),
        }
        landing.unmap();
        context.fault().is_none()
    }
}

/// Waits for all that was submitted before. `false`, and nothing read, if the device has failed.
pub(super) fn read_bytes(context: &Context, (buffer, offset): Place<'_>, bytes: &mut [u8]) -> bool {
    if bytes.is_empty() || context.fault().is_some() {
        return context.fault().is_none();
    }
    let landing = landing(context, bytes.len());
    let mut encoder =
        context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &landing, 0, bytes.len() as u64);
    let submission = context.queue.submit([encoder.finish()]);
    Reading::of(landing, submission).finish(context, bytes)
}
