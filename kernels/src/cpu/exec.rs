//! A compiled program: what is bound, where intermediate values lie, and how a run goes through
//! the steps.

use std::sync::Arc;

use super::attention::{self, Rows as Kv};
use super::memory::{Held, HeldState, Scratch, Views};
use super::rope::Tables;
use super::storage::write;
use super::{Cx, Storage, WeightView, embed, glu, head, lora, norm, rope, simple};
use crate::device::{Buffer, Cursor};
use crate::grad::LinearOperands;
use crate::op::{Op, Step};
use crate::plan::{Plan, Region, plan};
use crate::program::{Program, Role, Rows, Slot};
use crate::quant::Quant;

/// A program compiled for the CPU.
pub(crate) struct Exec {
    program: Program,
    pub(crate) max_tokens: usize,
    /// Slots that a run binds, in order.
    bound: Vec<Slot>,
    /// By slot.
    places: Vec<Place>,
    steps: Vec<Planned>,
    arena_len: usize,
}

/// Where a slot's values are during a run.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// No step needs them.
    Nowhere,
    /// In the arena, from this offset on.
    Arena(usize),
    /// In the bound buffer of this number.
    Bound(usize),
}

/// A step and its work space in the arena.
struct Planned {
    step: Step,
    work: usize,
    work_len: usize,
}

/// Checked buffers of a run.
pub(crate) struct Bindings {
    /// Every buffer once.
    storages: Vec<Arc<Storage>>,
    /// For every slot of [`Exec::bound`], its buffer's number.
    numbers: Vec<usize>,
    /// The most tokens that every buffer over tokens has room for.
    tokens: usize,
    /// Rows of the smallest cache.
    capacity: usize,
}

impl Exec {
    pub(crate) fn new(program: &Program, max_tokens: usize) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let is_bound = |slot: &Slot| {
            program.desc(*slot).role != Role::Scratch || program.outputs().contains(slot)
        };
        let bound: Vec<Slot> = program.slots().filter(is_bound).collect();
        let steps = needed_steps(program);
        let mut places = vec![Place::Nowhere; program.slots().count()];
        for (number, slot) in bound.iter().enumerate() {
            places[slot.index()] = Place::Bound(number);
        }
        let layout = Layout::of(program, &steps, max_tokens);
        for (slot, offset) in layout.slots() {
            places[slot.index()] = Place::Arena(offset);
        }
        let works = layout.works(steps.len());
        let steps = steps.into_iter().zip(works);
        let steps = steps.map(|(step, (work, work_len))| Planned { step, work, work_len });
        let arena_len = layout.plan.len;
        Exec {
            program: program.clone(),
            max_tokens,
            bound,
            places,
            steps: steps.collect(),
            arena_len,
        }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    pub(crate) fn bind(&self, buffers: &[(Slot, &Buffer)]) -> Bindings {
        let name = |slot: Slot| &self.program.desc(slot).name;
        for &(slot, _) in buffers {
            assert!(self.bound.contains(&slot), "{} is not to be bound", name(slot));
        }
        let (mut tokens, mut capacity) = (usize::MAX, usize::MAX);
        let mut storages: Vec<Arc<Storage>> = Vec::with_capacity(self.bound.len());
        let mut numbers = Vec::with_capacity(self.bound.len());
        for &slot in &self.bound {
            let mut given = buffers.iter().filter(|(bound, _)| *bound == slot);
            let (Some((_, buffer)), None) = (given.next(), given.next()) else {
                panic!("{} is to be bound once", name(slot));
            };
            let desc = self.program.desc(slot);
            assert_eq!(buffer.storage.element(), desc.element, "{}: element", desc.name);
            assert_eq!(buffer.cols(), desc.cols, "{}: columns", desc.name);
            match desc.rows {
                Rows::Fixed(rows) => assert_eq!(buffer.rows(), rows, "{}: rows", desc.name),
                Rows::Tokens => tokens = tokens.min(buffer.rows()),
                Rows::Bound => capacity = capacity.min(buffer.rows()),
            }
            let known = storages.iter().position(|storage| Arc::ptr_eq(storage, &buffer.storage));
            assert!(
                known.is_none() || desc.role != Role::State,
                "{}: a cache is bound to one slot",
                desc.name
            );
            numbers.push(known.unwrap_or(storages.len()));
            if known.is_none() {
                storages.push(buffer.storage.clone());
            }
        }
        Bindings { storages, numbers, tokens, capacity }
    }

    pub(super) fn run(&self, cx: &Cx<'_>, scratch: &mut Scratch, bindings: &Bindings) {
        let Cursor { pos, tokens } = cx.cursor;
        let most = self.max_tokens.min(bindings.tokens);
        assert!(0 < tokens && tokens <= most, "{tokens} tokens, at most {most}");
        assert!(pos + tokens <= bindings.capacity, "the cache ends before {}", pos + tokens);
        assert_eq!(bindings.numbers.len(), self.bound.len(), "bindings of another program");
        let (arena, tables) = scratch.split(self.arena_len);
        {
            let mut run = Run::new(self, cx, bindings);
            for planned in &self.steps {
                run.step(planned, arena, tables);
            }
        }
        for &slot in self.program.outputs() {
            let (Place::Arena(offset), number) = (self.places[slot.index()], self.number(slot))
            else {
                unreachable!("an output is made by a step")
            };
            let Storage::F32(to) = &*bindings.storages[bindings.numbers[number]] else {
                unreachable!("checked when bound")
            };
            let len = self.len(slot, tokens);
            write(to)[..len].copy_from_slice(&arena[offset..offset + len]);
        }
    }

    fn number(&self, slot: Slot) -> usize {
        self.bound.partition_point(|&bound| bound < slot)
    }

    /// Values of a slot in a run of `tokens`.
    fn len(&self, slot: Slot, tokens: usize) -> usize {
        len(&self.program, slot, tokens)
    }
}

fn len(program: &Program, slot: Slot, tokens: usize) -> usize {
    let rows = match program.rows(slot) {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Bound => unreachable!("a cache is not in the arena"),
    };
    rows * program.cols(slot)
}

/// The steps that an output or a cache depends on.
fn needed_steps(program: &Program) -> Vec<Step> {
    let mut needed = vec![false; program.slots().count()];
    program.outputs().iter().for_each(|slot| needed[slot.index()] = true);
    let mut steps: Vec<Step> = Vec::new();
    for step in program.steps().iter().rev() {
        let writes_cache = step.inputs.iter().any(|&slot| program.desc(slot).role == Role::State);
        if writes_cache || step.outputs.iter().any(|slot| needed[slot.index()]) {
            step.inputs.iter().for_each(|slot| needed[slot.index()] = true);
            steps.push(step.clone());
        }
    }
    steps.reverse();
    steps
}

/// The arena's regions: one per slot that a step makes (or several slots, where a step may work in
/// place), one per work space.
struct Layout {
    plan: Plan,
    /// Region of every slot.
    of_slot: Vec<(Slot, usize)>,
    /// Region and length of every step's work space.
    of_work: Vec<Option<(usize, usize)>>,
}

impl Layout {
    fn of(program: &Program, steps: &[Step], tokens: usize) -> Layout {
        let mut regions: Vec<Region> = Vec::new();
        let mut of_slot: Vec<(Slot, usize)> = Vec::new();
        let mut of_work = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let work = work_len(program, step, tokens);
            of_work.push((work > 0).then(|| {
                regions.push(Region { len: work, first: at, last: at });
                (regions.len() - 1, work)
            }));
            for (i, &slot) in step.outputs.iter().enumerate() {
                let last = last_use(program, steps, slot).unwrap_or(at);
                let len = len(program, slot, tokens);
                // In place: the operand dies here, and nobody else took its region.
                let source = step.op.in_place(i).map(|operand| step.inputs[operand]);
                let region = source.and_then(|source| {
                    let region = of_slot.iter().find(|(known, _)| *known == source)?.1;
                    (regions[region].last == at && regions[region].len == len).then_some(region)
                });
                let uses = step.inputs.iter().filter(|&&input| Some(input) == source).count();
                match region.filter(|_| uses == 1) {
                    Some(region) => {
                        regions[region].last = last;
                        of_slot.push((slot, region));
                    }
                    None => {
                        of_slot.push((slot, regions.len()));
                        regions.push(Region { len, first: at, last });
                    }
                }
            }
        }
        Layout { plan: plan(&regions), of_slot, of_work }
    }

    fn slots(&self) -> impl Iterator<Item = (Slot, usize)> + '_ {
        self.of_slot.iter().map(|&(slot, region)| (slot, self.plan.offsets[region]))
    }

    /// Offset and length of the steps' work spaces.
    fn works(&self, steps: usize) -> Vec<(usize, usize)> {
        assert_eq!(self.of_work.len(), steps);
        let place = |work: &Option<(usize, usize)>| {
            work.map_or((self.plan.len, 0), |(region, len)| (self.plan.offsets[region], len))
        };
        self.of_work.iter().map(place).collect()
    }
}

/// The last step that reads a slot; outputs are read after the last.
fn last_use(program: &Program, steps: &[Step], slot: Slot) -> Option<usize> {
    if program.outputs().contains(&slot) {
        return Some(steps.len());
    }
    steps.iter().rposition(|step| step.inputs.contains(&slot))
}

/// f32 values of work space of a step.
fn work_len(program: &Program, step: &Step, tokens: usize) -> usize {
    let rank = |a: Slot| program.cols(a);
    match step.op {
        Op::Linear { .. } => LinearOperands::of(step).lora.map_or(0, |lora| tokens * rank(lora.b)),
        Op::LinearGrad { lora: Some(_) } => tokens * rank(step.inputs[3]),
        Op::LoraGrad { .. } => 2 * tokens * rank(step.inputs[3]),
        Op::HeadLogp | Op::HeadLogpGrad => {
            let head = step.inputs[1];
            let Rows::Fixed(vocabulary) = program.rows(head) else { unreachable!("a weight") };
            head::workspace(tokens, program.cols(head), vocabulary, step.op == Op::HeadLogpGrad)
        }
        _ => 0,
    }
}

impl Op {
    /// The operand that output `i` may replace.
    fn in_place(&self, i: usize) -> Option<usize> {
        match (self, i) {
            (Op::Add | Op::Glu(_) | Op::Rope(_) | Op::RmsNorm { .. }, 0) => Some(0),
            (Op::RmsNormGrad { .. }, 0) => Some(2),
            (Op::GluGrad(_), i) => Some(i),
            _ => None,
        }
    }
}

/// A run under way.
struct Run<'a> {
    exec: &'a Exec,
    cx: &'a Cx<'a>,
    numbers: &'a [usize],
    held: Vec<Held<'a>>,
    states: Vec<(Slot, HeldState<'a>)>,
}

/// At most three results and a work space.
type StepViews<'a> = Views<'a, 4>;

impl<'a> Run<'a> {
    fn new(exec: &'a Exec, cx: &'a Cx<'a>, bindings: &'a Bindings) -> Run<'a> {
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

    fn held(&self, slot: Slot) -> &Held<'a> {
        match self.exec.places[slot.index()] {
            Place::Bound(number) => &self.held[self.numbers[number]],
            _ => unreachable!("a bound slot"),
        }
    }

    /// Values of a slot.
    fn values<'b>(&'b self, views: &StepViews<'b>, slot: Slot) -> &'b [f32] {
        let Place::Arena(offset) = self.exec.places[slot.index()] else {
            return match self.held(slot) {
                Held::F32(values) => &values[..self.exec.len(slot, self.cx.tokens())],
                Held::Weight(weight) => bytemuck::cast_slice(weight.bytes()),
                _ => unreachable!("checked when bound"),
            };
        };
        views.read(offset..offset + self.exec.len(slot, self.cx.tokens()))
    }

    /// Values of the operand that a result may replace; `None` if it does.
    fn source<'b>(&'b self, views: &StepViews<'b>, from: Slot, to: Slot) -> Option<&'b [f32]> {
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

    fn weight<'b>(&'b self, slot: Slot) -> WeightView<'b> {
        let desc = self.exec.program.desc(slot);
        let Rows::Fixed(rows) = desc.rows else { unreachable!("a weight") };
        let (bytes, quant) = match self.held(slot) {
            Held::Weight(weight) => (weight.bytes(), weight.quant),
            Held::F32(values) => (bytemuck::cast_slice(values), Quant::F32),
            _ => unreachable!("checked when bound"),
        };
        WeightView { bytes, quant, rows, cols: desc.cols }
    }

    fn step(&mut self, planned: &Planned, arena: &mut [f32], tables: &mut Tables) {
        let Planned { step, work, work_len } = planned;
        let end = arena.len();
        let ranges: [_; 4] = std::array::from_fn(|i| {
            if i == 3 {
                return *work..work + work_len;
            }
            let Some(&slot) = step.outputs.get(i) else { return end..end };
            let Place::Arena(offset) = self.exec.places[slot.index()] else {
                unreachable!("a result lies in the arena")
            };
            offset..offset + self.exec.len(slot, self.cx.tokens())
        });
        let mut views = Views::new(arena, &ranges);
        self.append_to_caches(step, &views);
        let [work, y] = [3, 0].map(|i| views.write(i));
        let inputs = &step.inputs[..];
        let (cx, this) = (self.cx, &*self);
        let values = |i: usize| this.values(&views, inputs[i]);
        let source = |i: usize, o: usize| this.source(&views, inputs[i], step.outputs[o]);
        match step.op {
            Op::Embed { scale } => {
                embed::embed(cx, this.ids(inputs[0]), &this.weight(inputs[1]), scale, y);
            }
            Op::RmsNorm { eps } => norm::rms_norm(cx, source(0, 0), values(1), eps, y),
            Op::RmsNormGrad { eps } => {
                norm::rms_norm_grad(cx, (values(0), values(1)), source(2, 0), eps, y);
            }
            Op::Linear { .. } => this.linear(step, &views, y, work),
            Op::LinearGrad { lora } => {
                y.fill(0.0);
                simple::linear_grad(cx, values(0), &this.weight(inputs[1]), y);
                if let Some(scale) = lora {
                    let rank = self.exec.program.cols(inputs[3]);
                    let down = &mut work[..cx.tokens() * rank];
                    lora::through_b(cx, values(0), values(3), scale, down);
                    lora::add_product(cx, down, values(2), y);
                }
            }
            Op::LoraGrad { scale } => {
                let half = cx.tokens() * self.exec.program.cols(inputs[3]);
                let (through, down) = work[..2 * half].split_at_mut(half);
                let (x, dy) = (values(0), values(1));
                lora::through_b(cx, dy, values(3), scale, through);
                lora::down(cx, x, values(2), scale, down);
                lora::grad_a(cx, through, x, y);
                lora::grad_b(cx, dy, down, views.write(1));
            }
            Op::Rope(rope) => {
                let factors = inputs.get(1).map(|_| values(1));
                let turns = tables.get(rope, factors, cx.cursor);
                rope::rope(cx, rope, turns, source(0, 0), y);
            }
            Op::Attention(attributes) => {
                let (pos, kv) = match this.cache(step) {
                    Some(cache) => (cx.cursor.pos, cache),
                    None => (0, [1, 2].map(|i| Kv::F32(values(i)))),
                };
                let q = values(0);
                attention::attention(cx, &attributes, pos, q, kv, [y, views.write(1)]);
            }
            Op::AttentionGrad(attributes) => {
                let operands = [0, 1, 2, 3, 4, 5].map(values);
                let grads = [y, views.write(1), views.write(2)];
                attention::attention_grad(cx, &attributes, operands, grads);
            }
            Op::Glu(act) => glu::glu(cx, act, source(0, 0), values(1), y),
            Op::GluGrad(act) => {
                let sources = [source(0, 0), source(1, 1)];
                let dy = values(2);
                glu::glu_grad(cx, act, sources, dy, [y, views.write(1)]);
            }
            Op::Add => glu::add(cx, source(0, 0), values(1), y),
            Op::HeadLogp => {
                let (w, targets) = (this.weight(inputs[1]), this.ids(inputs[2]));
                head::head_logp(cx, values(0), &w, targets, y, work);
            }
            Op::HeadLogpGrad => {
                let (w, targets) = (this.weight(inputs[1]), this.ids(inputs[2]));
                let dlogp = values(3);
                head::head_logp_grad(cx, values(0), &w, (targets, dlogp), y, work);
            }
        }
    }

    fn linear(&self, step: &Step, views: &StepViews<'_>, y: &mut [f32], work: &mut [f32]) {
        let LinearOperands { x, w, bias, lora } = LinearOperands::of(step);
        let x = self.values(views, x);
        simple::linear(self.cx, x, &self.weight(w), y);
        if let Some(bias) = bias {
            let bias = self.values(views, bias);
            let cols = bias.len();
            self.cx.rows(y, cols, |y| {
                for t in y.rows() {
                    y.row(t).iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                }
            });
        }
        if let Some(pair) = lora {
            let [a, b] = [pair.a, pair.b].map(|slot| self.values(views, slot));
            let down = &mut work[..self.cx.tokens() * self.exec.program.cols(pair.b)];
            lora::down(self.cx, x, a, pair.scale, down);
            lora::add_up(self.cx, down, b, y);
        }
    }

    /// Writes the new keys and values of a step with a cache.
    fn append_to_caches(&mut self, step: &Step, views: &StepViews<'_>) {
        let (Op::Attention(_), [_, k, v, keys, values]) = (step.op, &step.inputs[..]) else {
            return;
        };
        for (rows, state) in [(*k, *keys), (*v, *values)] {
            let at = self.states.iter().position(|(slot, _)| *slot == state);
            let mut states = std::mem::take(&mut self.states);
            let cols = self.exec.program.cols(state);
            let held = &mut states[at.expect("every cache is held")].1;
            held.append(self.cx.cursor.pos * cols, self.values(views, rows));
            self.states = states;
        }
    }

    fn cache(&self, step: &Step) -> Option<[Kv<'_>; 2]> {
        let &[_, _, _, keys, values] = &step.inputs[..] else { return None };
        let state = |slot: Slot| self.states.iter().find(|(held, _)| *held == slot);
        let [keys, values] = [keys, values].map(state).map(|held| held.map(|held| held.1.rows()));
        Some([keys?, values?])
    }
}
