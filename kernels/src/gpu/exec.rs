//! A compiled program: what is bound, where intermediate values lie, and the commands of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Storage;
use super::fuse::{Piece, fuse, unfused};
use super::ops::{self, Emit};
use super::pipeline::{Pipeline, Pipelines};
use super::recorder::Recorder;
use super::shader::{BINDINGS_MAX, IMMEDIATE_BYTES, Kernel, Products};
use crate::bind::Checked;
use crate::device::{Buffer, Cursor};
use crate::gpu::context::Context;
use crate::layout::{self, layout, len, needed_steps};
use crate::op::Rope;
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

/// A piece, its work space in the arena, and what it leaves there for the next piece.
pub(super) struct Planned {
    pub piece: Piece,
    pub work: usize,
    pub left: usize,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// Every buffer once.
    pub(super) storages: Vec<Arc<Storage>>,
    /// For every bound slot, its buffer's number.
    numbers: Vec<usize>,
    tokens: usize,
    capacity: usize,
    /// Whether a bound slot shares its buffer with no other.
    sole: Vec<bool>,
    kept: Mutex<Kept>,
}

/// What earlier runs with these buffers have left.
#[derive(Default)]
struct Kept {
    /// Number of the arena that the bind groups refer to.
    arena: u64,
    groups: HashMap<(Kernel, Operands), wgpu::BindGroup>,
    calls: Calls,
}

/// The kernel calls of the last run. One of as many tokens differs in its position alone.
#[derive(Default)]
struct Calls {
    tokens: usize,
    /// Ropes with their factors, and the tables that the calls refer to.
    turns: Vec<(Rope, Option<Slot>, Operand)>,
    all: Vec<Call>,
}

/// A kernel call, ready to be recorded.
struct Call {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    dispatch: Dispatch,
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
    /// The word that is the run's first position, if one is.
    pub pos: Option<usize>,
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
        let spaces = layout.works.into_iter().zip(layout.lefts);
        let planned = |(piece, ((work, _), left))| Planned { piece, work, left };
        let pieces = pieces.into_iter().zip(spaces).map(planned);
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
        let once = |number| numbers.iter().filter(|&other| other == number).count() == 1;
        let sole = numbers.iter().map(once).collect();
        Bindings { storages, numbers, tokens, capacity, sole, kept: Mutex::default() }
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
        let mut kept = bindings.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.arena != recorder.arena_number() || kept.calls.tokens != tokens {
            kept.calls.all.clear();
        }
        let mut emit = Emit::new(self, bindings, cursor, context, recorder);
        let turns = &kept.calls.turns;
        let mut known =
            turns.iter().map(|&(rope, factors, table)| emit.turns(rope, factors) == table);
        if kept.calls.all.is_empty() || !known.all(|known| known) {
            self.pieces.iter().for_each(|planned| emit.piece(planned));
            let Emit { dispatches, turns, .. } = emit;
            self.prepare(context, pipelines, recorder, bindings, &mut kept, dispatches);
            (kept.calls.tokens, kept.calls.turns) = (tokens, turns);
        }
        for call in &mut kept.calls.all {
            if let Some(word) = call.dispatch.pos {
                call.dispatch.words[word] = pos as u32;
            }
            recorder.dispatch(context, &call.pipeline, &call.group, &call.dispatch);
        }
        drop(kept);
        for &slot in self.program.outputs() {
            let storage = &bindings.storages[bindings.numbers[self.number(slot)]];
            storage.forget();
            if let Operand::Arena { offset, .. } = self.operand(bindings, slot) {
                let bytes = 4 * len(&self.program, slot, tokens);
                recorder.copy_out(context, 4 * offset, storage.at(0), bytes);
            }
        }
        recorder.submit_if_long(context);
    }

    /// Makes calls of dispatches, with the bind groups that are there and those that are missing.
    fn prepare(
        &self,
        context: &Context,
        pipelines: &Pipelines,
        recorder: &mut Recorder,
        bindings: &Bindings,
        kept: &mut Kept,
        dispatches: Vec<Dispatch>,
    ) {
        recorder.fit_arena(context, self.peak_bytes());
        if kept.arena != recorder.arena_number() {
            kept.arena = recorder.arena_number();
            kept.groups.clear();
        }
        let call = |dispatch: Dispatch| {
            let pipeline = pipelines.get(context, dispatch.kernel);
            let key = (dispatch.kernel, dispatch.operands);
            let group = kept.groups.entry(key).or_insert_with(|| {
                recorder.bind_group(context, &pipeline, &dispatch, &bindings.storages)
            });
            Call { pipeline, group: group.clone(), dispatch }
        };
        kept.calls.all = dispatches.into_iter().map(call).collect();
    }

    /// Where a slot is, as an operand; of a bound buffer the first panel.
    pub(super) fn operand(&self, bindings: &Bindings, slot: Slot) -> Operand {
        match self.places[slot.index()] {
            Place::Unused => unreachable!("no step makes it"),
            Place::Arena(offset) => match self.handed_out(bindings, slot) {
                Some(number) => Operand::Bound { number, panel: 0 },
                None => Operand::Arena { offset, len: len(&self.program, slot, self.max_tokens) },
            },
            Place::Bound(number) => Operand::Bound { number: bindings.numbers[number], panel: 0 },
        }
    }

    /// The buffer of an output that can be written at once, since nothing else is bound there.
    fn handed_out(&self, bindings: &Bindings, slot: Slot) -> Option<usize> {
        let number = self.program.outputs().contains(&slot).then(|| self.number(slot))?;
        bindings.sole[number].then(|| bindings.numbers[number])
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
    let left = ops::left_len(program, piece);
    layout::Piece { steps: &piece.steps, work: works.max().unwrap_or(0), left }
}
