//! Runs of one token: a piece of a block is one kernel, where its buffers lie together.

use super::emit::{self, Emit, Left, fold};
use super::rows::number;
use crate::gpu::dispatch::Operand;
use crate::gpu::exec::Planned;
use crate::gpu::fuse::{Gated, Next, NormAdd, Output, Piece, Project, RANK_MAX, Task, WIDTH_MAX};
use crate::gpu::page::{Page, Stretch};
use crate::gpu::shader::Kernel;
use crate::grad::LinearOperands;
use crate::op::{Attention, Lora, RopeStyle};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::Slot;

/// What the kernels take for "nothing": no slot begins there.
const NONE: u32 = u32::MAX;

/// Places of a head that a workgroup makes, unless it makes all.
const SHARE: usize = 16;

/// The pages that a kernel for one token binds: packed weights, other values, pairs.
struct Pages {
    weights: Operand,
    floats: Operand,
    pairs: Operand,
}

/// A pair as the kernels take it.
#[derive(Clone, Copy)]
struct PairWords {
    a: u32,
    b: u32,
    rank: u32,
    scale: u32,
}

/// The kernel of a piece, if it is more than its steps.
pub(in crate::gpu) fn kernel(program: &Program, piece: &Piece) -> Option<Kernel> {
    let quant = |slot: Slot| emit::quant(program, slot);
    let of = |linears: &[LinearOperands]| types(linears.iter().map(|linear| quant(linear.w)));
    match &piece.task {
        Task::Steps => None,
        Task::Project(project) => {
            let cache = quant(project.caches[0]);
            Some(Kernel::Project { quants: of(&project.linears), cache })
        }
        Task::Attend(_) => Some(Kernel::Attend(quant(piece.steps[0].inputs[3]))),
        Task::Output(output) => Some(Kernel::Output(quant(output.linear.w))),
        Task::Gated(Gated { linears: [gate, up], .. }) => {
            Some(Kernel::Gated([quant(gate.w), quant(up.w)]))
        }
        Task::NormAdd(_) => Some(Kernel::NormAdd),
    }
}

/// The one or two types of some weights; the same twice if it is one.
fn types(mut quants: impl Iterator<Item = Quant>) -> [Quant; 2] {
    let first = quants.next().expect("at least one weight");
    [first, quants.find(|&quant| quant != first).unwrap_or(first)]
}

/// Lanes that share a row: as many as find something to do in it.
fn lanes(cols: usize) -> usize {
    let eights = cols.div_ceil(32) * 4;
    (1 << eights.ilog2()).clamp(4, 256)
}

/// Workgroups of a linear, of four rows a team.
fn groups(rows: usize, cols: usize) -> usize {
    rows.div_ceil(1024 / lanes(cols))
}

/// f32 values that a piece leaves for the next: for every workgroup, one per rank.
pub(in crate::gpu) fn left_len(program: &Program, piece: &Piece) -> usize {
    let pairs = piece.next.pairs.iter().flatten();
    let ranks: usize = pairs.map(|pair| program.cols(pair.b)).sum();
    let cols = |slot: Slot| program.cols(slot);
    let groups = match &piece.task {
        Task::Attend(attention) => attention.heads,
        Task::Output(Output { linear, y, .. }) => groups(cols(*y), cols(linear.x)),
        Task::Gated(Gated { x, y, .. }) => groups(cols(*y), cols(*x)),
        Task::NormAdd(_) => 1,
        Task::Project(_) | Task::Steps => 0,
    };
    ranks * groups
}

impl Emit<'_> {
    /// The piece as one kernel; `None`, and nothing is done, if its buffers don't lie together.
    /// `given` is what the piece before has left.
    pub(super) fn fused(&mut self, planned: &Planned, given: Option<Left>) -> Option<()> {
        let kernel = kernel(&self.exec.program, &planned.piece)?;
        match &planned.piece.task {
            Task::Steps => None,
            Task::Project(project) => self.project(kernel, project),
            Task::Attend(attention) => self.attend(kernel, planned, attention),
            Task::Output(output) => self.output(kernel, planned, output, given),
            Task::Gated(gated) => self.gated(kernel, planned, gated, given),
            Task::NormAdd(sum) => self.norm_add(kernel, planned, sum),
        }
    }

    fn project(&mut self, kernel: Kernel, project: &Project) -> Option<()> {
        let Project { norm, linears, rope, attention, .. } = project;
        let norms = project.head_norms.iter().flatten().map(|norm| norm.w);
        let biases = linears.iter().filter_map(|linear| linear.bias);
        let values: Vec<Slot> = biases.chain(norms).chain([norm.w]).collect();
        let pages = self.pages(linears, &values, &Next::default())?;
        let turns = self.turns(*rope, project.factors);
        let Kernel::Project { quants, .. } = kernel else { unreachable!("its kernel") };
        let width = self.cols(project.q) / attention.heads;
        let half_words = rope.style == RopeStyle::HalfSplit && !rope.dims.is_multiple_of(4);
        let whole_heads = project.head_norms.is_some() || half_words;
        let share = if whole_heads { width.next_multiple_of(2) } else { SHARE };
        let [q, k, v] = linears.map(|linear| self.at(linear.w));
        let seconds = linears.iter().enumerate();
        let second = |(i, linear): (usize, &LinearOperands)| {
            u32::from(self.quant(linear.w) != quants[0]) << i
        };
        let interleaved = u32::from(rope.style == RopeStyle::Interleaved) << 3;
        let flags = seconds.map(second).sum::<u32>() | interleaved;
        let [q_bias, k_bias, v_bias] =
            linears.map(|linear| linear.bias.map_or(NONE, |bias| self.at(bias)));
        let (q_norm, k_norm, head_eps) = match project.head_norms {
            Some([q, k]) => (self.at(q.w), self.at(k.w), q.eps),
            None => (NONE, NONE, 0.0),
        };
        let pairs = linears.map(|linear| self.pair_words(&linear));
        let words = [
            &[q, k, v, self.cols(project.x) as u32, self.at(norm.w), norm.eps.to_bits()][..],
            &[q_bias, k_bias, v_bias, q_norm, k_norm, head_eps.to_bits()],
            &pairs.map(|pair| pair.a),
            &pairs.map(|pair| pair.b),
            &pairs.map(|pair| pair.rank),
            &pairs.map(|pair| pair.scale),
            &[attention.heads, attention.kv_heads, width, rope.dims, share].map(|n| n as u32),
            &[self.cursor.pos as u32, flags, lanes(self.cols(project.x)) as u32],
        ];
        let [keys, values] = project.caches.map(|cache| self.operand(cache));
        let (x, q) = (self.operand(project.x), self.operand(project.q));
        let operands = [pages.weights, pages.floats, pages.pairs, x, q, turns, keys, values];
        let heads = attention.heads + 2 * attention.kv_heads;
        let grid = [(heads * width.div_ceil(share)) as u32, 1, 1];
        self.call(kernel, &operands, &words.concat(), grid);
        self.position_is(29);
        self.appended = true;
        Some(())
    }

    fn attend(&mut self, kernel: Kernel, planned: &Planned, attention: &Attention) -> Option<()> {
        let step = &planned.piece.steps[0];
        let [q, k, v] = [0, 1, 2].map(|i| step.inputs[i]);
        let [keys, values] = [3, 4].map(|i| step.inputs[i]);
        let quant = self.quant(keys);
        if !std::mem::take(&mut self.appended) {
            self.append(quant, [k, v], [keys, values]);
        }
        let stride = self.cols(k).next_multiple_of(if quant == Quant::F16 { 2 } else { 1 });
        let &Attention { heads, kv_heads, scale, window } = attention;
        let width = self.cols(q) / heads;
        let window = window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let [pos, heads, kv_heads, stride] =
            [self.cursor.pos, heads, kv_heads, stride].map(|n| n as u32);
        let chunks = width.div_ceil(8).next_power_of_two() as u32;
        let columns = width.next_power_of_two() as u32;
        let width = width as u32;
        let (pages, next) = self.pages_and_next(&[], &[], planned)?;
        let sizes = [pos, heads, kv_heads, width, window, stride, scale.to_bits(), chunks, columns];
        let words = [&sizes[..], &self.next_words(&next, heads * width)];
        let left = self.leave(planned, &next, attention.heads);
        let [q, keys, values, o] =
            [q, keys, values, step.outputs[0]].map(|slot| self.operand(slot));
        let operands = [q, keys, values, o, pages.floats, pages.pairs, left];
        self.call(kernel, &operands, &words.concat(), [heads, 1, 1]);
        self.position_is(0);
        Some(())
    }

    fn output(
        &mut self,
        kernel: Kernel,
        planned: &Planned,
        output: &Output,
        given: Option<Left>,
    ) -> Option<()> {
        let Output { linear, residual, y } = output;
        let bias: Vec<Slot> = linear.bias.into_iter().collect();
        let (pages, next) = self.pages_and_next(&[*linear], &bias, planned)?;
        let pair = self.pair_words(linear);
        let bias = linear.bias.map_or(NONE, |bias| self.at(bias));
        let cols = self.cols(linear.x);
        let residual = residual.map(|slot| self.operand(slot));
        let rows = self.cols(*y);
        let words = [
            &[self.at(linear.w), rows as u32, cols as u32, bias][..],
            &[u32::from(residual.is_some()), pair.a, pair.b, pair.rank, pair.scale],
            &[lanes(cols) as u32, given.map_or(0, |given| given.count as u32)],
            &self.next_words(&next, rows as u32),
        ];
        let groups = groups(rows, cols);
        let left = self.leave(planned, &next, groups);
        let given = given.map_or(Operand::None, |given| given.parts);
        let (x, y) = (self.operand(linear.x), self.operand(*y));
        let residual = residual.unwrap_or(Operand::None);
        let Pages { weights, floats, pairs } = pages;
        let operands = [weights, floats, pairs, x, residual, y, given, left];
        self.call(kernel, &operands, &words.concat(), fold(groups));
        Some(())
    }

    fn gated(
        &mut self,
        kernel: Kernel,
        planned: &Planned,
        gated: &Gated,
        given: Option<Left>,
    ) -> Option<()> {
        let Gated { x, norm, linears, activation, y } = gated;
        let (pages, next) = self.pages_and_next(linears, &[norm.w], planned)?;
        let [gate, up] = linears.map(|linear| self.at(linear.w));
        let [gate_pair, up_pair] = linears.map(|linear| self.pair_words(&linear));
        let (rows, cols) = (self.cols(*y), self.cols(*x));
        let sizes = [gate, up, rows as u32, cols as u32, self.at(norm.w), norm.eps.to_bits()];
        let pair = |pair: PairWords| [pair.a, pair.b, pair.rank, pair.scale];
        let words = [
            &sizes[..],
            &[number(*activation)],
            &pair(gate_pair),
            &pair(up_pair),
            &[lanes(cols) as u32, given.map_or(0, |given| given.count as u32)],
            &self.next_words(&next, rows as u32),
        ];
        let groups = groups(rows, cols);
        let left = self.leave(planned, &next, groups);
        let given = given.map_or(Operand::None, |given| given.parts);
        let (x, y) = (self.operand(*x), self.operand(*y));
        let operands = [pages.weights, pages.floats, pages.pairs, x, y, given, left];
        self.call(kernel, &operands, &words.concat(), fold(groups));
        Some(())
    }

    fn norm_add(&mut self, kernel: Kernel, planned: &Planned, sum: &NormAdd) -> Option<()> {
        let NormAdd { x, norm, residual, y } = *sum;
        let (pages, next) = self.pages_and_next(&[], &[norm.w], planned)?;
        let cols = self.cols(y) as u32;
        let next_words = self.next_words(&next, cols);
        let words = [&[cols, self.at(norm.w), norm.eps.to_bits()][..], &next_words];
        let left = self.leave(planned, &next, 1);
        let [residual, x, y] = [residual, x, y].map(|slot| self.operand(slot));
        let operands = [residual, pages.floats, pages.pairs, x, y, left];
        self.call(kernel, &operands, &words.concat(), [1, 1, 1]);
        Some(())
    }

    fn pair_words(&self, linear: &LinearOperands) -> PairWords {
        let none = PairWords { a: 0, b: 0, rank: 0, scale: 0 };
        linear.lora.map_or(none, |Lora { a, b, scale }| PairWords {
            a: self.at(a),
            b: self.at(b),
            rank: self.cols(b) as u32,
            scale: scale.to_bits(),
        })
    }

    /// Where a kernel of `count` workgroups leaves what the next piece needs, which is told.
    fn leave(&mut self, planned: &Planned, next: &Next, count: usize) -> Operand {
        let ranks: usize = next.pairs.iter().flatten().map(|pair| self.cols(pair.b)).sum();
        let parts = Operand::Arena { offset: planned.left, len: count * ranks };
        self.left = (ranks > 0).then_some(Left { parts, count });
        self.left.map_or(Operand::None, |left| left.parts)
    }

    fn next_words(&self, next: &Next, cols: u32) -> [u32; 6] {
        let norm = next.norm.map_or(NONE, |norm| self.at(norm));
        let [(a, rank), (second_a, second_rank)] = next
            .pairs
            .map(|pair| pair.map_or((0, 0), |Lora { a, b, .. }| (self.at(a), self.cols(b) as u32)));
        [norm, a, rank, second_a, second_rank, cols]
    }

    /// The pages of a piece and of what the next one needs, if that is there, too.
    fn pages_and_next(
        &self,
        linears: &[LinearOperands],
        values: &[Slot],
        planned: &Planned,
    ) -> Option<(Pages, Next)> {
        let nexts = [planned.piece.next, Next::default()].into_iter();
        nexts.filter_map(|next| Some((self.pages(linears, values, &next)?, next))).next()
    }

    /// The pages of some linears and of the other values that their kernel reads, if there is only
    /// one of each kind.
    fn pages(&self, linears: &[LinearOperands], values: &[Slot], next: &Next) -> Option<Pages> {
        let weights = || linears.iter().map(|linear| linear.w);
        let is_packed = |slot: &Slot| self.quant(*slot) != Quant::F32;
        let of_f32 = weights().filter(|slot| !is_packed(slot));
        let values = values.iter().copied().chain(next.norm);
        let pairs = linears.iter().map(|linear| linear.lora).chain(next.pairs).flatten();
        Some(Pages {
            weights: self.one_page(weights().filter(is_packed))?,
            floats: self.one_page(of_f32.chain(values))?,
            pairs: self.one_page(pairs.flat_map(|Lora { a, b, .. }| [a, b]))?,
        })
    }

    /// The page that all these lie in.
    fn one_page(&self, slots: impl Iterator<Item = Slot>) -> Option<Operand> {
        let mut found: Option<(Operand, &Page)> = None;
        for slot in slots {
            let (number, stretch) = self.stretch(slot)?;
            let page: &Page = &stretch.page;
            match found {
                Some((_, first)) if !std::ptr::eq(first, page) => return None,
                _ => found = Some((Operand::Page { number }, page)),
            }
        }
        Some(found.map_or(Operand::None, |(operand, _)| operand))
    }

    /// Where a bound slot lies, unless it spans pages.
    fn stretch(&self, slot: Slot) -> Option<(usize, &Stretch)> {
        let Operand::Bound { number, .. } = self.operand(slot) else { return None };
        match &self.bindings.storages[number].panels[..] {
            [panel] => Some((number, &panel.stretch)),
            _ => None,
        }
    }

    /// Where it begins in its page, as the kernels count: in vectors of four words what is packed,
    /// in values what is f32.
    fn at(&self, slot: Slot) -> u32 {
        let (_, stretch) = self.stretch(slot).expect("its page was found");
        let unit = if self.quant(slot) == Quant::F32 { 4 } else { 16 };
        (stretch.offset / unit) as u32
    }
}

const _: () = assert!(RANK_MAX == 64 && WIDTH_MAX == 256, "the kernels' workgroup memory");
