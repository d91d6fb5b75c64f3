//! From a step to the kernels that compute it.

mod attention;
mod decode;
mod head;
mod linear;
mod rows;

pub(super) use decode::left_len;

use super::context::Context;
use super::exec::{Bindings, Dispatch, Exec, LINE, Operand, Operands, Planned, Words};
use super::fuse::Piece;
use super::pack;
use super::recorder::Recorder;
use super::shader::{FEW, IMMEDIATE_BYTES, Kernel, Products};
use crate::device::Cursor;
use crate::grad::LinearOperands;
use crate::layout::len;
use crate::op::{Op, Rope, Step};
use crate::program::{Element, Program, Rows, Slot};
use crate::quant::Quant;

/// The kernel calls of a run, as they are collected.
pub(super) struct Emit<'a> {
    exec: &'a Exec,
    bindings: &'a Bindings,
    cursor: Cursor,
    context: &'a Context,
    recorder: &'a mut Recorder,
    pub dispatches: Vec<Dispatch>,
    /// The ropes of the run, with their factors, and their tables.
    pub turns: Vec<(Rope, Option<Slot>, Operand)>,
    /// What the last piece has left for the next.
    left: Option<Left>,
    /// Whether the cache has the keys and values of the attention that comes.
    appended: bool,
}

/// Parts of `x aᵀ` of the pairs of the piece that comes, and of how many workgroups.
#[derive(Clone, Copy)]
struct Left {
    parts: Operand,
    count: usize,
}

/// Work space of a step, handed out piece by piece.
pub(in crate::gpu) struct Work(usize);

impl Work {
    fn take(&mut self, len: usize) -> Operand {
        let offset = self.0;
        self.0 += len.next_multiple_of(LINE);
        Operand::Arena { offset, len }
    }
}

/// A panel of a weight as kernels see it.
#[derive(Clone, Copy)]
pub(in crate::gpu) struct Panel {
    operand: Operand,
    first_row: usize,
    rows: usize,
    cols: usize,
}

impl Panel {
    /// `page_rows`, `page_cols`, `page_units`.
    fn sizes(&self) -> [u32; 3] {
        [self.rows as u32, self.cols as u32, pack::units(self.cols) as u32]
    }
}

impl<'a> Emit<'a> {
    pub fn new(
        exec: &'a Exec,
        bindings: &'a Bindings,
        cursor: Cursor,
        context: &'a Context,
        recorder: &'a mut Recorder,
    ) -> Emit<'a> {
        recorder.tables.trim();
        Emit {
            exec,
            bindings,
            cursor,
            context,
            recorder,
            dispatches: Vec::new(),
            turns: Vec::new(),
            left: None,
            appended: false,
        }
    }

    pub fn piece(&mut self, planned: &Planned) {
        let given = self.left.take();
        if self.fused(planned, given).is_none() {
            planned.piece.steps.iter().for_each(|step| self.step(step, Work(planned.work)));
        }
    }

    fn step(&mut self, step: &Step, work: Work) {
        match step.op {
            Op::Embed { scale } => self.embed(step, scale),
            Op::RmsNorm { eps } => self.rms_norm(step, eps),
            Op::RmsNormGrad { eps } => self.rms_norm_grad(step, eps),
            Op::Linear { .. } => self.linear(step, work),
            Op::LinearGrad { lora } => self.linear_grad(step, lora, work),
            Op::LoraGrad { scale } => self.lora_grad(step, scale, work),
            Op::Rope(rope) => self.rope(step, rope),
            Op::Attention(attributes) => self.attention(step, &attributes),
            Op::AttentionGrad(attributes) => self.attention_grad(step, &attributes, work),
            Op::Glu(activation) => self.glu(step, activation),
            Op::GluGrad(activation) => self.glu_grad(step, activation),
            Op::Add => self.add(step),
            Op::HeadLogp => self.head_logp(step, work),
            Op::HeadLogpGrad => self.head_logp_grad(step, work),
        }
    }

    fn call(&mut self, kernel: Kernel, operands: &[Operand], words: &[u32], grid: [u32; 3]) {
        let mut all = Operands::default();
        all[..operands.len()].copy_from_slice(operands);
        let mut sizes: Words = [0; IMMEDIATE_BYTES as usize / 4];
        sizes[..words.len()].copy_from_slice(words);
        self.dispatches.push(Dispatch { kernel, operands: all, words: sizes, pos: None, grid });
    }

    /// Says which word of the last call is the run's first position.
    fn position_is(&mut self, word: usize) {
        let last = self.dispatches.last_mut().expect("after a call");
        assert_eq!(last.words[word], self.cursor.pos as u32);
        last.pos = Some(word);
    }

    fn tokens(&self) -> usize {
        self.cursor.tokens
    }

    fn operand(&self, slot: Slot) -> Operand {
        self.exec.operand(self.bindings, slot)
    }

    fn cols(&self, slot: Slot) -> usize {
        self.exec.program.cols(slot)
    }

    /// Values of a slot in this run.
    fn len(&self, slot: Slot) -> usize {
        len(&self.exec.program, slot, self.tokens())
    }

    /// Rows of a slot in this run.
    fn rows(&self, slot: Slot) -> usize {
        self.len(slot) / self.cols(slot)
    }

    fn quant(&self, slot: Slot) -> Quant {
        quant(&self.exec.program, slot)
    }

    /// How linears over a weight are computed.
    fn products(&self, w: Slot) -> Products {
        linear::products(self.context.products, &self.exec.program, self.quant(w))
    }

    /// The panels of a weight.
    fn panels(&self, slot: Slot) -> Vec<Panel> {
        let Operand::Bound { number, .. } = self.operand(slot) else {
            unreachable!("a weight is bound")
        };
        let cols = self.cols(slot);
        let panels = self.bindings.storages[number].panels.iter().enumerate();
        panels
            .map(|(panel, held)| Panel {
                operand: Operand::Bound { number, panel },
                first_row: held.first_row,
                rows: held.rows,
                cols,
            })
            .collect()
    }
}

/// A grid of at least `groups` workgroups, folded where one dimension is too short.
fn fold(groups: usize) -> [u32; 3] {
    const WIDE: usize = 32_768;
    if groups <= WIDE {
        return [groups as u32, 1, 1];
    }
    [WIDE as u32, groups.div_ceil(WIDE) as u32, 1]
}

/// Workgroups of 64 for one invocation per element.
fn each(elements: usize) -> [u32; 3] {
    fold(elements.div_ceil(64))
}

fn quant(program: &Program, slot: Slot) -> Quant {
    match program.desc(slot).element {
        Element::Value(quant) => quant,
        Element::Id => unreachable!("ids are no weight"),
    }
}

fn fixed_rows(program: &Program, slot: Slot) -> usize {
    match program.rows(slot) {
        Rows::Fixed(rows) => rows,
        _ => unreachable!("a weight"),
    }
}

/// f32 values of work space of a step: the most that any run of up to `tokens` tokens needs.
pub(super) fn work_len(usual: Products, program: &Program, step: &Step, tokens: usize) -> usize {
    let cols = |slot: Slot| program.cols(slot);
    let inputs = &step.inputs[..];
    match step.op {
        Op::Linear { .. } => {
            let LinearOperands { x, w, lora, .. } = LinearOperands::of(step);
            let pair = lora.map_or(0, |pair| linear::thin_len(tokens, cols(pair.b), cols(x)));
            let rounds = linear::products(usual, program, quant(program, w)) == Products::Int8;
            let rows = if let Rows::Fixed(rows) = program.rows(x) { rows } else { tokens };
            let rounded = if rounds && rows > FEW { linear::rounded_len(rows, cols(x)) } else { 0 };
            pair + rounded
        }
        Op::LinearGrad { lora: Some(_) } => {
            linear::thin_len(tokens, cols(inputs[3]), cols(inputs[0]))
        }
        Op::LoraGrad { .. } => {
            linear::lora_grad_len(tokens, [cols(inputs[0]), cols(inputs[1]), cols(inputs[3])])
        }
        Op::AttentionGrad(attributes) => (tokens * attributes.heads).next_multiple_of(LINE),
        Op::HeadLogp | Op::HeadLogpGrad => head::work_len(tokens, fixed_rows(program, inputs[1])),
        _ => 0,
    }
}

/// The kernels that a piece may call.
pub(super) fn kernels(
    usual: Products,
    program: &Program,
    piece: &Piece,
    max_tokens: usize,
) -> Vec<Kernel> {
    let of_step = |step| of_step(usual, program, step, max_tokens);
    match decode::kernel(program, piece) {
        Some(kernel) => vec![kernel],
        None => piece.steps.iter().flat_map(of_step).collect(),
    }
}

/// The kernels that a step may call.
fn of_step(usual: Products, program: &Program, step: &Step, max_tokens: usize) -> Vec<Kernel> {
    let quant = |i: usize| quant(program, step.inputs[i]);
    let products = |i: usize| linear::products(usual, program, quant(i));
    let mut kernels = match step.op {
        Op::Embed { .. } => vec![Kernel::Embed(quant(1))],
        Op::RmsNorm { .. } => vec![Kernel::RmsNorm],
        Op::RmsNormGrad { .. } => vec![Kernel::RmsNormGrad],
        Op::Linear { lora, .. } => lora.map_or(Vec::new(), |_| vec![Kernel::Thin, Kernel::Sum]),
        Op::LinearGrad { lora } => {
            let pair = lora.map_or(Vec::new(), |_| vec![Kernel::Thin, Kernel::Sum]);
            [vec![linear::back(products(1), quant(1))], pair].concat()
        }
        Op::LoraGrad { .. } => vec![Kernel::Thin, Kernel::Sum],
        Op::Rope(_) => vec![Kernel::Rope],
        Op::Attention(_) => match step.inputs.len() {
            5 => vec![Kernel::Append(quant(3)), Kernel::Attention(quant(3))],
            _ => vec![Kernel::Attention(Quant::F32)],
        },
        Op::AttentionGrad(_) => {
            vec![Kernel::AttentionDelta, Kernel::AttentionGradQ, Kernel::AttentionGradKv]
        }
        Op::Glu(_) => vec![Kernel::Glu],
        Op::GluGrad(_) => vec![Kernel::GluGrad],
        Op::Add => vec![Kernel::Add],
        Op::HeadLogp => vec![Kernel::HeadShard, Kernel::HeadLogp],
        Op::HeadLogpGrad => {
            vec![Kernel::HeadShard, Kernel::HeadSlopes, Kernel::LinearGrad(quant(1))]
        }
    };
    if matches!(step.op, Op::Linear { .. } | Op::HeadLogp | Op::HeadLogpGrad) {
        kernels.push(Kernel::LinearFew(quant(1)));
        let is_linear = matches!(step.op, Op::Linear { .. });
        let products = if is_linear { products(1) } else { Products::F32 };
        if max_tokens > FEW {
            kernels.push(linear::forward(products, quant(1)));
        }
        if max_tokens > FEW && products == Products::Int8 {
            kernels.push(Kernel::Round);
        }
    }
    kernels
}
