//! Commands on their way to the GPU, and the memory that runs share.

use std::sync::Arc;

use super::context::Context;
use super::dispatch::{Dispatch, Operand};
use super::page::{Page, Place};
use super::pipeline::Pipeline;
use super::storage::Storage;
use super::tables::Tables;

/// What has been recorded and not yet been submitted, the arena, and the tables.
///
/// Commands of many runs go in one submission: when the host reads, writes or chooses a token, and
/// when there are [`LONG`] of them.
pub(super) struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    /// The pass of the encoder that dispatches go to, until another command comes.
    pass: Option<wgpu::ComputePass<'static>>,
    recorded: usize,
    arena: Page,
    arena_number: u64,
    /// What is bound for nothing: to be read, and to be written.
    nothing: [Page; 2],
    pub tables: Tables,
    /// Dispatches since the start.
    pub dispatches: u64,
}

/// So many dispatches are worth a submission.
const LONG: usize = 256;

impl Recorder {
    pub fn new(context: &Context) -> Recorder {
        Recorder {
            encoder: None,
            pass: None,
            recorded: 0,
            arena: Page::new(context, 16),
            arena_number: 1,
            nothing: [Page::new(context, 16), Page::new(context, 16)],
            tables: Tables::default(),
            dispatches: 0,
        }
    }

    /// Tells one arena from the next, larger one.
    pub fn arena_number(&self) -> u64 {
        self.arena_number
    }

    /// Makes the arena as large as a program needs it.
    pub fn fit_arena(&mut self, context: &Context, bytes: usize) {
        if (bytes as u64) > self.arena.bytes() {
            self.submit(context);
            self.arena = Page::new(context, bytes as u64);
            self.arena_number += 1;
        }
    }

    pub fn bind_group(
        &self,
        context: &Context,
        pipeline: &Pipeline,
        dispatch: &Dispatch,
        storages: &[Arc<Storage>],
    ) -> wgpu::BindGroup {
        let (reads, count) = dispatch.kernel.bindings();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..count)
            .zip(&dispatch.operands)
            .map(|(binding, operand)| wgpu::BindGroupEntry {
                binding,
                resource: match *operand {
                    Operand::None => self.nothing[usize::from(binding >= reads)].whole(),
                    Operand::Arena { offset, len } => {
                        self.arena.part(4 * offset as u64, 4 * len as u64)
                    }
                    Operand::Bound { number, panel } => {
                        storages[number].panels[panel].stretch.binding()
                    }
                    Operand::Page { number } => storages[number].panels[0].stretch.page.whole(),
                    Operand::Table(id) => self.tables.binding(id),
                },
            })
            .collect();
        context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    pub fn dispatch(
        &mut self,
        context: &Context,
        pipeline: &Pipeline,
        group: &wgpu::BindGroup,
        dispatch: &Dispatch,
    ) {
        let pass = self.pass(context);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(&dispatch.words));
        let [x, y, z] = dispatch.grid;
        pass.dispatch_workgroups(x, y, z);
        self.recorded += 1;
        self.dispatches += 1;
    }

    /// Copies from byte `offset` of the arena to a buffer.
    pub fn copy_out(&mut self, context: &Context, offset: usize, to: Place<'_>, bytes: usize) {
        let arena = self.arena.buffer.clone();
        self.copy(context, (&arena, offset as u64), to, bytes);
    }

    /// Copies `bytes` from one place to another, which may be the same buffer.
    pub fn copy(
        &mut self,
        context: &Context,
        (from, from_byte): Place<'_>,
        (to, to_byte): Place<'_>,
        bytes: usize,
    ) {
        if bytes == 0 || context.fault().is_some() {
            return;
        }
        if from != to {
            let encoder = self.encoder(context);
            encoder.copy_buffer_to_buffer(from, from_byte, to, to_byte, bytes as u64);
            return;
        }
        // No command copies within one buffer.
        let between = Page::new(context, bytes as u64);
        let encoder = self.encoder(context);
        encoder.copy_buffer_to_buffer(from, from_byte, &between.buffer, 0, bytes as u64);
        encoder.copy_buffer_to_buffer(&between.buffer, 0, to, to_byte, bytes as u64);
    }

    pub fn submit_if_long(&mut self, context: &Context) {
        if self.recorded >= LONG {
            self.submit(context);
        }
    }

    /// Hands over what has been recorded, if anything; what the host writes afterwards comes after
    /// it.
    pub fn submit(&mut self, context: &Context) -> Option<wgpu::SubmissionIndex> {
        self.recorded = 0;
        self.pass = None;
        let encoder = self.encoder.take()?;
        Some(context.queue.submit([encoder.finish()]))
    }

    fn pass(&mut self, context: &Context) -> &mut wgpu::ComputePass<'static> {
        if self.pass.is_none() {
            let descriptor = wgpu::ComputePassDescriptor::default();
            let pass = self.encoder(context).begin_compute_pass(&descriptor);
            self.pass = Some(pass.forget_lifetime());
        }
        self.pass.as_mut().expect("just begun")
    }

    /// For commands other than dispatches.
    fn encoder(&mut self, context: &Context) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        self.encoder.get_or_insert_with(|| context.device.create_command_encoder(&descriptor))
    }
}
