//! From a step to the kernels that compute it.

mod attention;
mod decode;
mod emit;
mod head;
mod linear;
mod rows;

pub(super) use decode::left_len;
pub(super) use emit::Emit;

use super::exec::{LINE, Planned};
use super::fuse::Piece;
use super::shader::{FEW, Kernel, Products};
use crate::grad::LinearOperands;
use crate::op::{Op, Step};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::{Rows, Slot};
use emit::{Work, quant};

impl Emit<'_> {
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
