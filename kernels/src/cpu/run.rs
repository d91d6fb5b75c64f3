//! A run of a compiled program: operands are looked up, kernels are called.

use super::attention::{self, Rows as Kv};
use super::cx::Cx;
use super::exec::{Bindings, Exec, Place, Planned};
use super::fuse::Task;
use super::gemm;
use super::linear::{LoraPair, OUTPUTS, Output, linear, linear_exact, linear_grad};
use super::memory::{Held, HeldState, Scratch, Views};
use super::rope::Tables;
use super::storage::{Storage, write};
use super::weight::Weight;
use super::{embed, glu, head, norm, rope};
use crate::grad::LinearOperands;
use crate::layout::len;
use crate::op::{Op, Step};
use crate::quant::Quant;
use crate::types::{Cursor, Role, Rows, Slot};

/// A run under way: its buffers are locked.
pub(super) struct Run<'a> {
    exec: &'a Exec,
    cx: &'a Cx<'a>,
    numbers: &'a [usize],
    held: Vec<Held<'a>>,
    states: Vec<(Slot, HeldState<'a>)>,
}

/// What a task writes: its results, then its work space.
type TaskViews<'a> = Views<'a, { OUTPUTS + 1 }>;

impl Exec {
    pub(super) fn run(&self, cx: &Cx<'_>, scratch: &mut Scratch, bindings: &Bindings) {
        let Cursor { pos, tokens } = cx.cursor;
        let most = self.max_tokens.min(bindings.tokens);
        assert!(0 < tokens && tokens <= most, "{tokens} tokens, at most {most}");
        assert!(pos + tokens <= bindings.capacity, "the cache ends before {}", pos + tokens);
        assert_eq!(bindings.numbers.len(), self.bound.len(), "bindings of another program");
        let (arena, tables) = scratch.split(self.arena_len);
        let mut run = Run::new(self, cx, bindings);
        for planned in &self.tasks {
            run.task(planned, arena, tables);
        }
        // Inputs are no longer held: an output may go where an input came from.
        drop(run);
        for &slot in self.program.outputs() {
            let Place::Arena(offset) = self.places[slot.index()] else {
                unreachable!("an output is made by a task")
            };
            let number = bindings.numbers[self.number(slot)];
            let Storage::F32(to) = &*bindings.storages[number] else {
                unreachable!("checked when bound")
            };
            let len = len(&self.program, slot, tokens);
            write(to)[..len].copy_from_slice(&arena[offset..offset + len]);
        }
    }
}

impl<'a> Run<'a> {
    pub fn new(exec: &'a Exec, cx: &'a Cx<'a>, bindings: &'a Bindings) -> Run<'a> {
        let mut states = Vec::new();
        let mut held: Vec<Held<'a>> = bindings.storages.iter().map(|_| Held::None).collect();
        for (&slot, &number) in exec.bound.iter().zip(&bindings.numbers) {
            let storage = &bindings.storages[number];
            match exec.program.desc(slot).role {
                Role::Scratch => {}
                Role::State => states.push((slot, storage.hold_state())),
                _ if matches!(held[number], Held::None) => held[number] = storage.hold(),
                _ => {}
            }
        }
        Run { exec, cx, numbers: &bindings.numbers, held, states }
    }

    pub fn task(&mut self, planned: &Planned, arena: &mut [f32], tables: &mut Tables) {
        let mut outputs = planned.task.outputs();
        let ranges: [_; OUTPUTS + 1] = std::array::from_fn(|i| match outputs.next() {
            _ if i == OUTPUTS => planned.work..planned.work + planned.work_len,
            Some(slot) => {
                let Place::Arena(offset) = self.exec.places[slot.index()] else {
                    unreachable!("a result lies in the arena")
                };
                offset..offset + self.len(slot)
            }
            None => arena.len()..arena.len(),
        });
        let mut views = Views::new(arena, &ranges);
        match &planned.task {
            Task::Linears(steps) => self.linears(steps, &mut views),
            Task::Step(step) => {
                self.append_to_caches(step, &views);
                self.step(step, &mut views, tables);
            }
        }
    }

    fn len(&self, slot: Slot) -> usize {
        len(&self.exec.program, slot, self.cx.tokens())
    }

    fn held(&self, slot: Slot) -> &Held<'a> {
        match self.exec.places[slot.index()] {
            Place::Bound(number) => &self.held[self.numbers[number]],
            _ => unreachable!("a bound slot"),
        }
    }

    /// Values of a slot.
    fn values<'b>(&'b self, views: &TaskViews<'b>, slot: Slot) -> &'b [f32] {
        if let Place::Arena(offset) = self.exec.places[slot.index()] {
            return views.read(offset..offset + self.len(slot));
        }
        match self.held(slot) {
            Held::F32(values) => &values[..self.len(slot)],
            Held::Weight(weight) => bytemuck::cast_slice(weight.bytes()),
            _ => unreachable!("checked when bound"),
        }
    }

    /// Values of the operand that a result may take the place of; `None` where it does.
    fn source<'b>(&'b self, views: &TaskViews<'b>, from: Slot, to: Slot) -> Option<&'b [f32]> {
        match [from, to].map(|slot| self.exec.places[slot.index()]) {
            [Place::Arena(from), Place::Arena(to)] if from == to => None,
            _ => Some(self.values(views, from)),
        }
    }

    fn ids(&self, slot: Slot) -> &[u32] {
        match self.held(slot) {
            Held::Ids(ids) => &ids[..self.cx.tokens()],
            _ => unreachable!("checked when bound"),
        }
    }

    fn weight(&self, slot: Slot) -> Weight<'_> {
        let desc = self.exec.program.desc(slot);
        let Rows::Fixed(rows) = desc.rows else { unreachable!("a weight") };
        let (bytes, quant) = match self.held(slot) {
            Held::Weight(weight) => (weight.bytes(), weight.quant),
            Held::F32(values) => (bytemuck::cast_slice(values), Quant::F32),
            _ => unreachable!("checked when bound"),
        };
        Weight { bytes, quant, rows, cols: desc.cols }
    }

    fn pair<'b>(&'b self, views: &TaskViews<'b>, [a, b]: [Slot; 2], scale: f32) -> LoraPair<'b> {
        let rank = self.exec.program.cols(b);
        LoraPair { a: self.values(views, a), b: self.values(views, b), rank, scale }
    }

    fn linears(&self, steps: &[Step], views: &mut TaskViews<'_>) {
        let work = views.write(OUTPUTS);
        let written: [_; OUTPUTS] = std::array::from_fn(|i| views.write(i));
        let views = &*views;
        let x = self.values(views, steps[0].inputs[0]);
        let output = |(step, y)| {
            let LinearOperands { w, bias, lora, .. } = LinearOperands::of(step);
            Output {
                weight: self.weight(w),
                bias: bias.map(|bias| self.values(views, bias)),
                lora: lora.map(|pair| self.pair(views, [pair.a, pair.b], pair.scale)),
                y,
            }
        };
        let mut outputs = steps.iter().zip(written).map(output);
        let multiply = if self.exec.program.exact { linear_exact } else { linear };
        match steps.len() {
            1 => multiply(self.cx.engine, x, &mut take::<1>(&mut outputs), work),
            2 => multiply(self.cx.engine, x, &mut take::<2>(&mut outputs), work),
            3 => multiply(self.cx.engine, x, &mut take::<3>(&mut outputs), work),
            _ => multiply(self.cx.engine, x, &mut take::<OUTPUTS>(&mut outputs), work),
        }
    }

    fn step(&self, step: &Step, views: &mut TaskViews<'_>, tables: &mut Tables) {
        let [work, y, y1, y2] = [OUTPUTS, 0, 1, 2].map(|i| views.write(i));
        let (cx, views, inputs) = (self.cx, &*views, &step.inputs[..]);
        let values = |i: usize| self.values(views, inputs[i]);
        let source = |i: usize, o: usize| self.source(views, inputs[i], step.outputs[o]);
        let weight = || self.weight(inputs[1]);
        match step.op {
            Op::Linear { .. } => unreachable!("grouped"),
            Op::Embed { scale } => embed::embed(cx, self.ids(inputs[0]), weight(), scale, y),
            Op::RmsNorm { eps } => norm::rms_norm(cx, source(0, 0), values(1), eps, y),
            Op::RmsNormGrad { eps } => {
                norm::rms_norm_grad(cx, (values(0), values(1)), source(2, 0), eps, y);
            }
            Op::LinearGrad { lora } => {
                let pair = lora.map(|scale| self.pair(views, [inputs[2], inputs[3]], scale));
                linear_grad(cx.engine, values(0), weight(), pair, y, work);
            }
            Op::LoraGrad { scale } => {
                let pair = self.pair(views, [inputs[2], inputs[3]], scale);
                self.lora_grad(values(0), values(1), pair, [y, y1], work);
            }
            Op::Rope(attributes) => {
                let factors = inputs.get(1).map(|_| values(1));
                let turns = tables.get(attributes, factors, cx.cursor);
                rope::rope(cx, attributes, turns, source(0, 0), y);
            }
            Op::Attention(attributes) => {
                let (pos, kv) = match self.caches(step) {
                    Some(caches) => (cx.cursor.pos, caches),
                    None => (0, [1, 2].map(|i| Kv::F32(values(i)))),
                };
                attention::attention(cx, &attributes, pos, values(0), kv, [y, y1], work);
            }
            Op::AttentionGrad(attributes) => {
                let operands = [0, 1, 2, 3, 4, 5].map(values);
                attention::grad::attention_grad(cx, &attributes, operands, [y, y1, y2], work);
            }
            Op::Glu(act) => glu::glu(cx, act, source(0, 0), values(1), y),
            Op::GluGrad(act) => {
                glu::glu_grad(cx, act, [source(0, 0), source(1, 1)], values(2), [y, y1]);
            }
            Op::Add => glu::add(cx, source(0, 0), values(1), y),
            Op::HeadLogp => {
                head::head_logp(cx, values(0), weight(), self.ids(inputs[2]), y, work);
            }
            Op::HeadLogpGrad => {
                let seeds = (self.ids(inputs[2]), values(3));
                head::head_logp_grad(cx, values(0), weight(), seeds, y, work);
            }
        }
    }

    /// `da (R,I) = scale (dy b)ᵀ x` and `db (O,R) = scale dyᵀ (x aᵀ)`.
    fn lora_grad(
        &self,
        x: &[f32],
        dy: &[f32],
        LoraPair { a, b, rank, scale }: LoraPair<'_>,
        [da, db]: [&mut [f32]; 2],
        work: &mut [f32],
    ) {
        let (engine, tokens) = (self.cx.engine, self.cx.tokens());
        let (cols, rows) = (x.len() / tokens, dy.len() / tokens);
        let (thin, work) = work.split_at_mut(tokens * rank);
        let (flat, work) = work.split_at_mut(rank * rows);
        gemm::nn(engine, [tokens, rank, rows], scale, dy, b, thin, work);
        gemm::tn(engine, [rank, cols, tokens], 1.0, thin, x, da, work);
        gemm::nt(engine, [tokens, rank, cols], scale, x, a, thin, work);
        // Not dyᵀ first: as few rows, long, it needs no transposing of dy.
        gemm::tn(engine, [rank, rows, tokens], 1.0, thin, dy, flat, work);
        for (row, db) in db.chunks_exact_mut(rank).enumerate() {
            for (r, db) in db.iter_mut().enumerate() {
                *db = flat[r * rows + row];
            }
        }
    }

    /// Writes the new keys and values of a step with a cache.
    fn append_to_caches(&mut self, step: &Step, views: &TaskViews<'_>) {
        let (Op::Attention(_), [_, k, v, keys, values]) = (step.op, &step.inputs[..]) else {
            return;
        };
        let mut states = std::mem::take(&mut self.states);
        for (rows, cache) in [(*k, *keys), (*v, *values)] {
            let state = states.iter_mut().find(|(slot, _)| *slot == cache);
            let at = self.cx.cursor.pos * self.exec.program.cols(cache);
            state.expect("caches are held").1.append(at, self.values(views, rows));
        }
        self.states = states;
    }

    fn caches(&self, step: &Step) -> Option<[Kv<'_>; 2]> {
        let &[_, _, _, keys, values] = &step.inputs[..] else { return None };
        let state = |slot: Slot| self.states.iter().find(|(held, _)| *held == slot);
        let [keys, values] = [keys, values].map(|slot| state(slot).map(|held| held.1.rows()));
        Some([keys?, values?])
    }
}

/// The next `N` items, without an allocation.
fn take<'a, const N: usize>(outputs: &mut impl Iterator<Item = Output<'a>>) -> [Output<'a>; N] {
    std::array::from_fn(|_| outputs.next().expect("one output per step"))
}
