//! From a program's steps to what the CPU does at once.
//!
//! Fusion is private to the device: a [`Task`] is defined by the steps in it, and is tested
//! against running them one by one.

use super::linear::OUTPUTS;
use crate::grad::LinearOperands;
use crate::layout::needed_steps;
use crate::op::{Op, Step};
use crate::program::Program;
use crate::types::Slot;

/// What a run does at once.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// One step.
    Step(Step),
    /// Linears of one input: it is rounded once, and all threads work on all of them (QKV; gate
    /// and up).
    Linears(Vec<Step>),
}

impl Task {
    /// The slots that it writes, at most four.
    pub fn outputs(&self) -> impl Iterator<Item = Slot> + '_ {
        self.steps().iter().flat_map(|step| step.outputs.iter().copied())
    }

    /// The steps that define it.
    pub fn steps(&self) -> &[Step] {
        match self {
            Task::Step(step) => std::slice::from_ref(step),
            Task::Linears(steps) => steps,
        }
    }
}

/// The steps that an output or a cache depends on, grouped.
pub(super) fn fuse(program: &Program) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for step in needed_steps(program) {
        let Op::Linear { .. } = step.op else {
            tasks.push(Task::Step(step));
            continue;
        };
        // A linear's other operands are bound, so it may run as soon as its input is there.
        let x = LinearOperands::of(&step).x;
        let group = tasks.iter_mut().find_map(|task| match task {
            Task::Linears(group) if group[0].inputs[0] == x && group.len() < OUTPUTS => Some(group),
            _ => None,
        });
        match group {
            Some(group) => group.push(step),
            None => tasks.push(Task::Linears(vec![step])),
        }
    }
    tasks
}

/// The steps that an output or a cache depends on, one by one.
pub(super) fn unfused(program: &Program) -> Vec<Task> {
    let task = |step: Step| match step.op {
        Op::Linear { .. } => Task::Linears(vec![step]),
        _ => Task::Step(step),
    };
    needed_steps(program).into_iter().map(task).collect()
}
