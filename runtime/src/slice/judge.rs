//! A run that has ended: its adapter is staged, measured against the one in force, and put in force
//! or turned down.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use sapwood_models::{Adapter, Provenance};

use super::evaluate::{Evaluation, Work};
use super::run::Run;
use super::{Outcome, Slice};
use crate::adapter_set::AdapterSet;
use crate::error::LearnerError;
use crate::journal::{Record, UsedByGeneration};
use crate::learn::example::Example;
use crate::learn::gate::{Verdict, judge};
use crate::measured::Measured;
use crate::memory::Memory;
use crate::shared::Shared;
use crate::store::{Digest, Meta, Metric, StoreError, digest_of};

impl Slice<'_> {
    /// Stages the run's adapter and judges it; `None` if a stop or the end of the slice came first:
    /// what was measured until then is saved.
    pub(super) fn judge_run(
        &mut self,
        run: &Run,
        adapter: &Adapter,
    ) -> Result<Option<Outcome>, LearnerError> {
        let shared = self.shared;
        let provenance = Provenance {
            base_fingerprint: shared.model.fingerprint(),
            template_digest: shared.model.template()?.digest(),
            parent: run.parent,
            seed: run.seed,
            lineage: run.lineage.iter().map(|reply| format!("{reply:032x}")).collect(),
        };
        let bytes = shared.model.adapter_file(adapter, Some(provenance)).to_bytes();
        let metric = |name: &str, value: f32| Metric { name: name.into(), value: value.into() };
        let meta = Meta {
            parent: run.parent,
            created_ms: shared.now_ms(),
            examples: run.examples,
            metrics: run
                .losses()
                .last()
                .map(|&loss| metric("final_loss", loss))
                .into_iter()
                .collect(),
        };
        if self.is_judged(&digest_of(&bytes)) {
            // Killed between the verdict and this: what is left of the run is done.
            shared.kept().store.clear_checkpoint()?;
            return Ok(None);
        }
        let digest = shared.stage(&bytes, Some(meta))?;
        // What the parent learned is in the candidate's weights too, whatever became of the parent.
        let mut learned = shared.kept().ledger.lineage(run.parent.as_ref());
        learned.extend(&run.lineage);
        let known = self.progress.measured.len();
        let outcome = self.judge_staged(&digest, &learned, run.until)?;
        if outcome.is_some() {
            shared.kept().store.clear_checkpoint()?;
        } else if self.progress.measured.len() > known {
            self.save(run)?;
        }
        Ok(outcome)
    }

    /// Whether an adapter was turned down or put in force before.
    fn is_judged(&self, digest: &Digest) -> bool {
        let kept = self.shared.kept();
        let in_use = [kept.store.candidate(), kept.store.active()];
        kept.store.is_refused(digest) || in_use.iter().flatten().any(|g| g.digest == *digest)
    }

    /// Measures a staged adapter against the one in force on held-out conversations up to a place in
    /// the journal's order, and puts it in force or turns it down. `None` if a stop or the end of the
    /// slice came first, or what it was trained from has been taken back: then it is dropped.
    pub(super) fn judge_staged(
        &mut self,
        digest: &Digest,
        learned: &HashSet<u128>,
        until: u64,
    ) -> Result<Option<Outcome>, LearnerError> {
        loop {
            let stand = self.stand(digest, until)?;
            let evaluation = stand.evaluation(self.shared);
            let mut work = Work { measured: &mut self.progress.measured, pace: &mut self.pace };
            let held_out = &stand.held_out;
            let report = evaluation.report(held_out, &stand.trained, stand.attempt, &mut work)?;
            let Some(report) = report else { return Ok(None) };
            let verdict = judge(&report, &self.shared.config.learning.thresholds);
            let over = stand.production.digest;
            match self.carry_out(digest, learned, over, Box::new(verdict)) {
                // Something else came into force meanwhile. What was measured is remembered, so
                // this costs what is new.
                Err(LearnerError::Store(StoreError::Overtaken)) => {}
                done => return done,
            }
        }
    }

    /// All that a verdict rests on, at one moment.
    fn stand(&self, digest: &Digest, until: u64) -> Result<Stand, LearnerError> {
        let shared = self.shared;
        let kept = shared.kept();
        let candidate = shared.load(&kept.store.adapter_bytes(digest)?)?;
        let divided = self.divided(&kept, until);
        let course = kept.store.course();
        Ok(Stand {
            candidate,
            production: shared.in_force(),
            held_out: divided.holdout.into_iter().chain(divided.shadow).collect(),
            trained: divided.train,
            memory: shared.memory(&kept, &HashSet::new()),
            retrieval: kept.retrieval_enabled,
            since: course.last_promotion(),
            attempt: course.attempt(),
        })
    }

    /// Does what a verdict says, if `over` is still in force.
    fn carry_out(
        &mut self,
        digest: &Digest,
        learned: &HashSet<u128>,
        over: Option<Digest>,
        verdict: Box<Verdict>,
    ) -> Result<Option<Outcome>, LearnerError> {
        let shared = self.shared;
        let mut kept = shared.kept();
        kept.catch_up()?;
        let generations = kept.store.generations();
        let made_from = generations.iter().find(|known| known.digest == *digest);
        let parent = made_from.and_then(|known| known.meta.parent);
        if parent.is_some_and(|parent| kept.store.is_refused(&parent)) {
            log::info!("what the candidate was trained from was taken back: it goes, too");
            kept.store.withdraw(digest)?;
            kept.store.clear_checkpoint()?;
            return Ok(None);
        }
        if !verdict.promote {
            kept.store.carry_out(digest, over, false)?;
            self.progress.measured = Measured::default();
            return Ok(Some(Outcome::Rejected { verdict }));
        }
        // Before anything else: who is asked to forget has to find every adapter that knows.
        let used = UsedByGeneration {
            digest: *digest,
            reply_ids: sorted(learned),
            time_ms: shared.now_ms(),
        };
        shared.record(&mut kept, Record::UsedByGeneration(used))?;
        let started = Instant::now();
        kept.store.carry_out(digest, over, true)?;
        self.progress.measured = Measured::default();
        shared.put_in_force(&mut kept)?;
        let swap_time = started.elapsed();
        Ok(Some(Outcome::Promoted { adapter: *digest, verdict, swap_time }))
    }
}

/// What a verdict rests on.
struct Stand {
    candidate: Adapter,
    production: Arc<AdapterSet>,
    held_out: Vec<Example>,
    trained: Vec<Example>,
    memory: Memory,
    retrieval: bool,
    /// Place of the last promotion: what is recorded behind it is new.
    since: u64,
    attempt: u32,
}

impl Stand {
    fn evaluation<'a>(&'a self, shared: &'a Shared) -> Evaluation<'a> {
        Evaluation {
            shared,
            candidate: &self.candidate,
            production: self.production.adapter.as_ref(),
            memory: &self.memory,
            retrieval: self.retrieval,
            since: self.since,
        }
    }
}

fn sorted(replies: &HashSet<u128>) -> Vec<u128> {
    let mut replies: Vec<u128> = replies.iter().copied().collect();
    replies.sort_unstable();
    replies
}
