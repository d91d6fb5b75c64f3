//! A compiled program: what is bound, where intermediate values lie, and the commands of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Storage;
use super::fuse::{Piece, fuse, unfused};
use super::ops::{self, Emit};
use super::pipeline::Pipelines;
use super::recorder::Recorder;
use super::shader::{BINDINGS_MAX, IMMEDIATE_BYTES, Kernel, Products};
use crate::bind::Checked;
use crate::device::{Buffer, Cursor};
use crate::gpu::context::Context;
use crate::layout::{self, layout, len, needed_steps};
use crate::program::{Program, Slot};

/// Stretches of the arena begin at multiples of this many f32: no adapter asks for more than 256
/// bytes.
pub(super) const LINE: usize = 64;

/// A program compiled for the GPU.
pub(crate) struct Exec {
    pub(super) program: Program,
    pub(crate) max_tokens: usize,
    bound: Vec<Slot>,
    /// By slot.
    places: Vec<Place>,
    pieces: Vec<Planned>,
    arena_len: usize,
    products: Products,
}

/// Where a slot's values are during a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Nowhere: no step makes them.
    Unused,
    /// In the arena, from this f32 on.
    Arena(usize),
    /// In the bound buffer of this number.
    Bound(usize),
}

/// A piece and its work space in the arena.
pub(super) struct Planned {
    pub piece: Piece,
    pub work: usize,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// Every buffer once.
    pub(super) storages: Vec<Arc<Storage>>,
    /// For every bound slot, its buffer's number.
    numbers: Vec<usize>,
    tokens: usize,
    capacity: usize,
    groups: Mutex<Groups>,
}

/// Bind groups that were made for earlier runs with these buffers.
#[derive(Default)]
struct Groups {
    /// Number of the arena that they refer to.
    arena: u64,
    made: HashMap<(Kernel, Operands), wgpu::BindGroup>,
}

/// What a kernel binds.
pub(super) type Operands = [Operand; BINDINGS_MAX];

/// One storage buffer of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Operand {
    /// Nothing that the kernel looks at.
    #[default]
    None,
    /// `len` f32 of the arena.
    Arena { offset: usize, len: usize },
    /// A panel of the bound buffer of this number.
    Bound { number: usize, panel: usize },
    /// The page that this buffer lies in.
    Page { number: usize },
    /// A table of the recorder.
    Table(u64),
}

/// Sizes that a kernel is told, as words.
pub(super) type Words = [u32; IMMEDIATE_BYTES as usize / 4];

/// One kernel call.
pub(super) struct Dispatch {
    pub kernel: Kernel,
    pub operands: Operands,
    pub words: Words,
    pub grid: [u32; 3],
}

impl Exec {
    /// `fused` is off only in tests.
    pub(super) fn new(
        context: &Context,
        program: &Program,
        max_tokens: usize,
        fused: bool,
    ) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let bound = program.bound();
        let steps = needed_steps(program);
        let pieces = if fused && max_tokens == 1 { fuse(program, steps) } else { unfused(steps) };
        let lifetimes: Vec<_> = pieces
            .iter()
            .map(|piece| lifetime(context.products, program, piece, max_tokens))
            .collect();
        let layout = layout(program, &lifetimes, max_tokens, LINE);
        let mut places = vec![Place::Unused; program.slots().count()];
        for (number, slot) in bound.iter().enumerate() {
            places[slot.index()] = Place::Bound(number);
        }
        for (slot, offset) in layout.slots {
            places[slot.index()] = Place::Arena(offset);
            context.expect_room(4 * len(program, slot, max_tokens));
        }
        let works = layout.works.into_iter().map(|(work, _)| work);
        let pieces = pieces.into_iter().zip(works).map(|(piece, work)| Planned { piece, work });
        let (program, arena_len) = (program.clone(), layout.len);
        let (pieces, products) = (pieces.collect(), context.products);
        Exec { program, max_tokens, bound, places, pieces, arena_len, products }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    /// Every kernel that a run calls, if what is used together lies together.
    pub(crate) fn kernels(&self) -> Vec<Kernel> {
        let pieces = self.pieces.iter();
        let of = |planned: &Planned| {
            ops::kernels(self.products, &self.program, &planned.piece, self.max_tokens)
        };
        pieces.flat_map(of).collect()
    }

    pub(crate) fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        let Checked { buffers, numbers, tokens, capacity } =
            Checked::new(&self.program, &self.bound, buffers);
        let storages = buffers.into_iter().map(|buffer| buffer.on_gpu().clone()).collect();
        Bindings { storages, numbers, tokens, capacity, groups: Mutex::default() }
    }

    /// Records a run.
    pub(super) fn run(
        &self,
        context: &Context,
        pipelines: &Pipelines,
        recorder: &mut Recorder,
        bindings: &Bindings,
        cursor: Cursor,
    ) {
        let Cursor { pos, tokens } = cursor;
        let most = self.max_tokens.min(bindings.tokens);
        assert!(0 < tokens && tokens <= most, "{tokens} tokens, at most {most}");
        assert!(pos + tokens <= bindings.capacity, "the cache ends before {}", pos + tokens);
        assert_eq!(bindings.numbers.len(), self.bound.len(), "bindings of another program");
        if context.fault().is_some() {
            return;
        }
        let mut emit = Emit::new(self, bindings, cursor, context, recorder);
        self.pieces.iter().for_each(|planned| emit.piece(planned));
        let dispatches = emit.dispatches;
        recorder.fit_arena(context, self.peak_bytes());
        let mut groups = bindings.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.arena != recorder.arena_number() {
            *groups = Groups { arena: recorder.arena_number(), made: HashMap::new() };
        }
        for dispatch in &dispatches {
            let pipeline = pipelines.get(context, dispatch.kernel);
            let key = (dispatch.kernel, dispatch.operands);
            let group = groups.made.entry(key).or_insert_with(|| {
                recorder.bind_group(context, &pipeline, dispatch, &bindings.storages)
            });
            recorder.dispatch(context, &pipeline, group, dispatch);
        }
        drop(groups);
        for &slot in self.program.outputs() {
            let Operand::Arena { offset, .. } = self.operand(bindings, slot) else {
                unreachable!("an output is made by a step")
            };
            let storage = &bindings.storages[bindings.numbers[self.number(slot)]];
            let bytes = 4 * len(&self.program, slot, tokens);
            recorder.copy_out(context, 4 * offset, storage.written_at(0), bytes);
        }
        recorder.submit_if_long(context);
    }

    /// Where a slot is, as an operand; of a bound buffer the first panel.
    pub(super) fn operand(&self, bindings: &Bindings, slot: Slot) -> Operand {
        match self.places[slot.index()] {
            Place::Unused => unreachable!("no step makes it"),
            Place::Arena(offset) => {
                Operand::Arena { offset, len: len(&self.program, slot, self.max_tokens) }
            }
            Place::Bound(number) => Operand::Bound { number: bindings.numbers[number], panel: 0 },
        }
    }

    /// Number of a bound slot.
    fn number(&self, slot: Slot) -> usize {
        self.bound.partition_point(|&bound| bound < slot)
    }
}

/// What the planner of the arena has to know of a piece. Its steps may have to run one by one, so
/// everything between them has its place.
fn lifetime<'a>(
    usual: Products,
    program: &Program,
    piece: &'a Piece,
    max_tokens: usize,
) -> layout::Piece<'a> {
    let works = piece.steps.iter().map(|step| ops::work_len(usual, program, step, max_tokens));
    layout::Piece { steps: &piece.steps, work: works.max().unwrap_or(0) }
}
