//! A run that has ended: its adapter is staged, measured against the one in force, and put in force
//! or turned down.

use std::collections::HashSet;
use std::time::Instant;

use sapwood_models::{Adapter, Provenance};

use super::evaluate::{Evaluation, Work};
use super::measured::Measured;
use super::run::Run;
use super::{Outcome, Slice};
use crate::error::LearnerError;
use crate::journal::{Record, UsedByGeneration};
use crate::learn::example::Example;
use crate::learn::gate::judge;
use crate::store::{Change, Digest, Meta, Metric, Reason, Store, digest_of};

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
        let outcome = self.judge_staged(&digest, &learned, run.started_ms)?;
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

    /// Measures a staged adapter against the one in force on held-out conversations up to
    /// `until_ms`, and puts it in force or turns it down.
    pub(super) fn judge_staged(
        &mut self,
        digest: &Digest,
        learned: &HashSet<u128>,
        until_ms: u64,
    ) -> Result<Option<Outcome>, LearnerError> {
        let shared = self.shared;
        let (held_out, trained, attempt) = {
            let kept = shared.kept();
            let divided = self.divided(&kept, until_ms);
            let held_out: Vec<Example> =
                divided.holdout.into_iter().chain(divided.shadow).collect();
            (held_out, divided.train, self.attempt(&kept.store))
        };
        let candidate = shared.load(&shared.kept().store.adapter_bytes(digest)?)?;
        let since = self.last_promotion_ms(&shared.kept().store);
        let pinned = shared.in_force();
        let evaluation = {
            let kept = shared.kept();
            Evaluation {
                shared,
                candidate: &candidate,
                production: pinned.adapter.as_ref(),
                memory: shared.memory(&kept, &HashSet::new()),
                retrieval: kept.retrieval_enabled,
                since_ms: since,
            }
        };
        let mut work = Work { measured: &mut self.progress.measured, pace: &mut self.pace };
        let Some(report) = evaluation.report(&held_out, &trained, attempt, &mut work)? else {
            return Ok(None);
        };
        let verdict = Box::new(judge(&report, &shared.config.learning.thresholds));
        self.progress.measured = Measured::default();
        let mut kept = shared.kept();
        if !verdict.promote {
            kept.store.turn_down(digest)?;
            return Ok(Some(Outcome::Rejected { verdict }));
        }
        // Before anything else: who is asked to forget has to find every adapter that knows.
        let used = UsedByGeneration {
            digest: *digest,
            reply_ids: sorted(learned),
            time_ms: shared.now_ms(),
        };
        shared.record(&mut kept, Record::UsedByGeneration(used))?;
        // A candidate that is still on probation makes room: the new one was judged against it.
        if kept.store.candidate().is_some() {
            kept.store.rollback(Reason::Gate)?;
        }
        let started = Instant::now();
        kept.store.propose(digest)?;
        shared.put_in_force(&mut kept)?;
        let swap_time = started.elapsed();
        Ok(Some(Outcome::Promoted { adapter: *digest, verdict, swap_time }))
    }

    /// Which try on this holdout the next one is: candidates turned down since the last promotion,
    /// and one.
    fn attempt(&self, store: &Store) -> u32 {
        let since = self.last_promotion_ms(store);
        let turned_down = store
            .events()
            .iter()
            .filter(|e| e.change == Change::RolledBack(Reason::Gate) && e.time_ms >= since);
        1 + turned_down.count() as u32
    }
}

fn sorted(replies: &HashSet<u128>) -> Vec<u128> {
    let mut replies: Vec<u128> = replies.iter().copied().collect();
    replies.sort_unstable();
    replies
}
