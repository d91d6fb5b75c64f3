//! Work spaces of the CPU's kernels, for the planner.

use super::fuse::Task;
use super::gemm::gemm_floats;
use super::linear::{FEW, linear_exact_floats, linear_floats, linear_grad_floats};
use super::{attention, head};
use crate::grad::LinearOperands;
use crate::op::Op;
use crate::program::Program;
use crate::types::{Rows, Slot};

/// f32 values of work space of a task: the most that any run of up to `tokens` tokens needs.
pub(super) fn work_len(program: &Program, task: &Task, tokens: usize, threads: usize) -> usize {
    let cols = |slot: Slot| program.cols(slot);
    let step = match task {
        Task::Step(step) => step,
        Task::Linears(steps) => {
            let rank = |step| LinearOperands::of(step).lora.map_or(0, |pair| cols(pair.b));
            let ranks = steps.iter().map(rank).sum();
            if program.exact {
                return linear_exact_floats(threads, tokens, ranks);
            }
            return most_linear_floats(threads, tokens, cols(steps[0].inputs[0]), ranks);
        }
    };
    let rows = |slot: Slot| match program.rows(slot) {
        Rows::Fixed(rows) => rows,
        _ => unreachable!("a weight"),
    };
    match (step.op, &step.inputs[..]) {
        (Op::LinearGrad { lora }, inputs) => {
            linear_grad_floats(threads, tokens, lora.map_or(0, |_| cols(inputs[3])))
        }
        (Op::LoraGrad { .. }, &[_, _, _, b]) => {
            let (out, rank) = (rows(b), cols(b));
            (tokens + out) * rank + gemm_floats(threads, tokens.max(rank))
        }
        (Op::Attention(attributes), inputs) => {
            attention::workspace(threads, &attributes, cols(inputs[0]), tokens)
        }
        (Op::AttentionGrad(attributes), inputs) => {
            attention::grad::workspace(threads, &attributes, cols(inputs[0]), tokens)
        }
        (Op::HeadLogp, &[_, w, _]) => head::workspace(threads, tokens, rows(w), cols(w)),
        (Op::HeadLogpGrad, &[_, w, _, _]) => {
            head::grad_workspace(threads, tokens, rows(w), cols(w))
        }
        _ => 0,
    }
}

/// [`linear_floats`] for up to `tokens` tokens: few take another way than many.
fn most_linear_floats(threads: usize, tokens: usize, cols: usize, ranks: usize) -> usize {
    let floats = |tokens| linear_floats(threads, tokens, cols, ranks);
    floats(tokens).max(floats(tokens.min(FEW)))
}
