//! Lifetimes of intermediate values and work spaces, for the planner.

use super::fuse::Task;
use super::gemm::gemm_floats;
use super::linear::{linear_exact_floats, linear_grad_floats};
use super::{attention, head, linear_floats};
use crate::grad::LinearOperands;
use crate::op::Op;
use crate::plan::{Region, plan};
use crate::program::{Program, Rows, Slot};

/// Where everything of a program lies in the arena.
pub(super) struct Layout {
    /// f32 values of the arena.
    pub len: usize,
    /// Offset of every slot that a task makes.
    pub slots: Vec<(Slot, usize)>,
    /// Offset and length of every task's work space.
    pub works: Vec<(usize, usize)>,
}

/// Lays a program out for runs of up to `tokens` tokens on `threads` threads: a region per slot (or
/// for several, where a step works in place), a region per work space.
pub(super) fn layout(program: &Program, tasks: &[Task], tokens: usize, threads: usize) -> Layout {
    let mut regions: Vec<Region> = Vec::new();
    let mut of_slot: Vec<(Slot, usize)> = Vec::new();
    let mut of_work = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        let work = work_len(program, task, tokens, threads);
        of_work.push((regions.len(), work));
        regions.push(Region { len: work, first: at, last: at });
        for (i, slot) in task.outputs().enumerate() {
            let (len, last) = (len(program, slot, tokens), last_use(program, tasks, slot, at));
            let fits = |&region: &usize| {
                let held: &Region = &regions[region];
                held.last == at && held.len == len
            };
            let source = replaced(task, i);
            let known = source.and_then(|source| of_slot.iter().find(|(slot, _)| *slot == source));
            let region = match known.map(|(_, region)| *region).filter(fits) {
                // In place: the operand dies here.
                Some(region) => {
                    regions[region].last = last;
                    region
                }
                None => {
                    regions.push(Region { len, first: at, last });
                    regions.len() - 1
                }
            };
            of_slot.push((slot, region));
        }
    }
    let plan = plan(&regions);
    // An empty work space lies beyond everything, not inside something.
    let work = |(region, len)| (if len > 0 { plan.offsets[region] } else { plan.len }, len);
    Layout {
        len: plan.len,
        slots: of_slot.into_iter().map(|(slot, region)| (slot, plan.offsets[region])).collect(),
        works: of_work.into_iter().map(work).collect(),
    }
}

/// Values of a slot in a run of `tokens` tokens.
pub(super) fn len(program: &Program, slot: Slot, tokens: usize) -> usize {
    let rows = match program.rows(slot) {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Bound => unreachable!("a cache is not in the arena"),
    };
    rows * program.cols(slot)
}

/// The last task that reads a slot; outputs are read after the last.
fn last_use(program: &Program, tasks: &[Task], slot: Slot, made: usize) -> usize {
    if program.outputs().contains(&slot) {
        return tasks.len();
    }
    let reader = tasks.iter().rposition(|task| task.inputs().any(|input| input == slot));
    reader.unwrap_or(made)
}

/// The operand that the task's result `i` may take the place of: the kernel reads every element of
/// it before it writes that element, and no other operand is the same slot.
fn replaced(task: &Task, i: usize) -> Option<Slot> {
    let Task::Step(step) = task else { return None };
    let operand = match (step.op, i) {
        (Op::Add | Op::Glu(_) | Op::Rope(_) | Op::RmsNorm { .. }, 0) => 0,
        (Op::RmsNormGrad { .. }, 0) => 2,
        (Op::GluGrad(_), i) => i,
        _ => return None,
    };
    let slot = step.inputs[operand];
    (step.inputs.iter().filter(|&&input| input == slot).count() == 1).then_some(slot)
}

/// f32 values of work space of a task: the most that any run of up to `tokens` tokens needs.
fn work_len(program: &Program, task: &Task, tokens: usize, threads: usize) -> usize {
    let cols = |slot: Slot| program.cols(slot);
    let step = match task {
        Task::Step(step) => step,
        Task::Linears(steps) => {
            let rank = |step| LinearOperands::of(step).lora.map_or(0, |pair| cols(pair.b));
            let ranks = steps.iter().map(rank).sum();
            if program.exact {
                return linear_exact_floats(threads, tokens, ranks);
            }
            return linear_floats(threads, tokens, cols(steps[0].inputs[0]), ranks);
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
