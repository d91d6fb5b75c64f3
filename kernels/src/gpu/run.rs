//! A run of a compiled program: its kernel calls are collected, or known, and recorded.

use std::sync::PoisonError;

use super::context::Context;
use super::dispatch::{Dispatch, Operand};
use super::exec::{Bindings, Call, Exec, Kept};
use super::ops::Emit;
use super::pipeline::Pipelines;
use super::recorder::Recorder;
use crate::layout::len;
use crate::types::Cursor;

impl Exec {
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
}
