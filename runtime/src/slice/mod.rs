//! Time that the host lends: a slice begins or continues a training run, judges what came of it,
//! and puts it in force or throws it away.
//!
//! A slice may be killed at any instant. What it had not saved is computed again, to the same
//! bits: the checkpoint holds all that the next step depends on. Judging is cut in the same way:
//! what was measured so far lies in the checkpoint too.

mod begin;
mod evaluate;
mod exposed;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod governor;
mod judge;
mod pace;
mod rhythm;
pub(crate) mod run;
#[cfg(test)]
mod traces;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sapwood_models::{Adapter, Stop};

use crate::config::Learning;
use crate::consent::Consent;
use crate::error::LearnerError;
use crate::forget;
use crate::learn::gate::Verdict;
use crate::learn::train::{TrainConfig, Trainer};
use crate::learn::trigger::{Decision, Hold};
use crate::measured::Progress;
use crate::policy::Obstacle;
use crate::shared::Shared;
use crate::store::Digest;
use governor::Governor;
use pace::{Pace, unless_stopped};
use run::Run;

/// How much a slice may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Wall-clock time. At least one piece of work (a sequence, a measurement) is done, so that
    /// slices too short for it get there all the same.
    pub time: Duration,
    /// Updates; `None` for as many as the time allows.
    pub steps: Option<u32>,
}

impl Budget {
    /// As many updates as the time allows.
    pub fn time(time: Duration) -> Budget {
        Budget { time, steps: None }
    }
}

/// What a slice came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No run is under way and none was begun.
    Waiting(Decision),
    /// The time was over or a stop was asked for; the run goes on in the next slice.
    Paused,
    /// The candidate is in force, on probation.
    Promoted {
        /// The new adapter.
        adapter: Digest,
        /// Why.
        verdict: Box<Verdict>,
        /// From the verdict to the first reply that can be made with it.
        swap_time: Duration,
    },
    /// The candidate was not good enough.
    Rejected {
        /// Why.
        verdict: Box<Verdict>,
    },
}

/// What a slice did.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceReport {
    /// What it came to.
    pub outcome: Outcome,
    /// Updates that the run has made, in all slices.
    pub step: u32,
    /// Updates that the run takes.
    pub steps: u32,
    /// Mean loss of each update so far.
    pub losses: Vec<f32>,
    /// Tokens of the updates that were completed in this slice.
    pub tokens: u64,
    /// Examples that the run learns from.
    pub examples: u32,
    /// Examples that it can't learn from: too long for the context, or refused by the template.
    pub left_out: u32,
    /// Time spent training in this slice.
    pub train_time: Duration,
    /// What of the device ended a slice that paused; empty: time was over, or a stop was asked for.
    pub obstacles: Vec<Obstacle>,
    /// SHA-256 of the run's whole state: runs with the same digest go on to the same bits.
    pub state: Digest,
}

impl fmt::Display for SliceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Waiting(decision) => write!(f, "{decision}"),
            Outcome::Paused => {
                write!(f, "paused at step {} of {}", self.step, self.steps)?;
                if self.left_out > 0 {
                    write!(f, "; {} examples are too long to learn from", self.left_out)?;
                }
                self.obstacles.iter().try_for_each(|obstacle| write!(f, "; {obstacle}"))
            }
            Outcome::Promoted { verdict, .. } | Outcome::Rejected { verdict } => {
                write!(f, "{verdict}")
            }
        }
    }
}

/// See [`Learner::train_slice`](crate::Learner::train_slice).
pub(crate) fn train(
    shared: &Arc<Shared>,
    budget: Budget,
    stop: &Stop,
) -> Result<SliceReport, LearnerError> {
    let mut progress = shared.training.lock().expect("nothing panics under this lock");
    shared.kept().catch_up()?;
    shared.expire()?;
    forget::erase(shared, &mut shared.kept());
    if shared.kept().consent() == Consent::Refused {
        return Ok(nothing_trained(waiting([Hold::Refused])));
    }
    let deadline = Instant::now().checked_add(budget.time);
    let governor = match Governor::new(shared, stop, budget.time)? {
        Ok(governor) => governor,
        Err(obstacles) => {
            let holds = obstacles.into_iter().map(Hold::Device);
            return Ok(nothing_trained(waiting(holds)));
        }
    };
    shared.join_segments();
    let stop = &governor.stop();
    let (pace, steps) = (Pace::new(deadline, stop), budget.steps);
    let slice = Slice { shared, steps, pace, progress: &mut progress };
    let mut report = { slice }.work()?;
    if report.outcome == Outcome::Paused {
        report.obstacles = governor.obstacles();
    }
    Ok(report)
}

/// See [`Learner::consider`](crate::Learner::consider).
pub(crate) fn consider(
    shared: &Shared,
    adapter: &[u8],
    stop: &Stop,
) -> Result<Outcome, LearnerError> {
    let mut progress = shared.training.lock().expect("nothing panics under this lock");
    if shared.kept().consent() == Consent::Refused {
        return Ok(waiting([Hold::Refused]));
    }
    let pace = Pace::new(None, stop);
    let mut slice = Slice { shared, steps: None, pace, progress: &mut progress };
    let digest = shared.stage(adapter, None)?;
    let outcome = slice.judge_staged(&digest, &HashSet::new(), u64::MAX)?;
    outcome.ok_or(LearnerError::Model(sapwood_models::ModelError::Stopped))
}

struct Slice<'a> {
    shared: &'a Shared,
    steps: Option<u32>,
    pace: Pace<'a>,
    progress: &'a mut Progress,
}

impl Slice<'_> {
    fn work(&mut self) -> Result<SliceReport, LearnerError> {
        let run = match self.resume()? {
            Some(run) => run,
            None => match unless_stopped(self.begin())? {
                Some(Ok(run)) => run,
                Some(Err(decision)) => return Ok(nothing_trained(Outcome::Waiting(decision))),
                None => return Ok(nothing_trained(Outcome::Paused)),
            },
        };
        let started = Instant::now();
        let tokens_before = run.tokens();
        let (run, adapter) = self.train(run)?;
        let mut report = SliceReport {
            outcome: Outcome::Paused,
            step: run.step(),
            steps: self.steps_of(&run),
            losses: run.losses().to_vec(),
            obstacles: Vec::new(),
            tokens: run.tokens() - tokens_before,
            examples: run.examples,
            left_out: run.left_out,
            train_time: started.elapsed(),
            state: run.digest(),
        };
        if let Some(adapter) = adapter
            && let Some(outcome) = self.judge_run(&run, &adapter)?
        {
            report.outcome = outcome;
        }
        Ok(report)
    }

    /// The run under way. One that was made under other settings or for another parent, whose data
    /// was forgotten, or that holds it longer than it may be kept, is dropped. One of another base
    /// model stays, for when that returns, until a run on this one takes its place.
    fn resume(&mut self) -> Result<Option<Run>, LearnerError> {
        let mut kept = self.shared.kept();
        let Some(bytes) = kept.store.load_checkpoint()? else { return Ok(None) };
        let longest_ms = self.shared.config.retention.max_age_ms;
        let now_ms = kept.store.time().now_ms;
        let run = Run::from_checkpoint(&bytes);
        if run.as_ref().is_some_and(|(run, _)| run.base != self.shared.model.fingerprint()) {
            return Ok(None);
        }
        let valid = run.filter(|(run, _)| {
            run.settings == self.settings()
                && run.parent == kept.store.active().map(|g| g.digest)
                && run.fits(&self.shared.model, &self.shared.config.learning.train)
                && now_ms.saturating_sub(run.started_ms) <= longest_ms
                && !run.lineage.iter().any(|reply| kept.ledger.is_forgotten(*reply))
        });
        if valid.is_none() {
            log::info!("a training run that nothing can be made of any more is dropped");
            kept.store.clear_checkpoint()?;
        }
        Ok(valid.map(|(run, measured)| {
            self.progress.measured.extend(measured);
            run
        }))
    }

    fn settings(&self) -> Digest {
        let learning = &self.shared.config.learning;
        let Learning { train, mix, passes, .. } = learning;
        Run::settings_digest(&format!("{train:?} {mix:?} {passes}"))
    }

    /// Updates that a run takes.
    fn steps_of(&self, run: &Run) -> u32 {
        let Learning { train, mix, passes, .. } = &self.shared.config.learning;
        run.plan(*mix, train.batch).steps_within(*passes).min(train.steps)
    }

    fn save(&self, run: &Run) -> Result<(), LearnerError> {
        let bytes = run.checkpoint(&self.progress.measured);
        Ok(self.shared.kept().store.save_checkpoint(&bytes)?)
    }

    /// Trains until the run is done, the time is over, or a stop is asked for. The adapter is
    /// there only when the run is done.
    fn train(&mut self, mut run: Run) -> Result<(Run, Option<Adapter>), LearnerError> {
        let shared = self.shared;
        let learning = &shared.config.learning;
        let plan = run.plan(learning.mix, learning.train.batch);
        let config = TrainConfig { steps: self.steps_of(&run), ..learning.train.clone() };
        let mut trainer = Trainer::new(&shared.model, config, run.take_state());
        let note_device = |run: &mut Run| {
            let now = shared.training_device();
            if !run.device.is_empty() && run.device != now {
                log::info!("a run that began on {} goes on on {now}", run.device);
            }
            run.device = now;
        };
        let mut saved = trainer.state().step;
        let last_step = self.steps.map_or(u32::MAX, |steps| saved.saturating_add(steps));
        let stands = |trainer: &Trainer<'_>| (trainer.state().step, trainer.state().micro);
        let before = stands(&trainer);
        while !trainer.is_done() && trainer.state().step < last_step {
            let rows = plan.step(u64::from(trainer.state().step));
            let (source, index) = rows[trainer.state().micro as usize];
            let lesson = run.lesson(source, index);
            let micro = self
                .pace
                .piece(|stop| Ok(trainer.micro_step(&lesson.sequence(), lesson.weight, stop)?));
            if unless_stopped(micro)?.is_none() {
                break;
            }
            if trainer.state().step >= saved + learning.checkpoint_steps.max(1) {
                saved = trainer.state().step;
                note_device(&mut run);
                run.set_state(trainer.state());
                self.save(&run)?;
            }
        }
        let (done, changed) = (trainer.is_done(), stands(&trainer) != before);
        let (adapter, state) = trainer.into_adapter();
        run.set_state(&state);
        if changed {
            note_device(&mut run);
            self.save(&run)?;
        }
        Ok((run, done.then_some(adapter)))
    }
}

/// Not now, whatever there is to learn.
fn waiting(hold: impl IntoIterator<Item = Hold>) -> Outcome {
    let hold = hold.into_iter().collect();
    Outcome::Waiting(Decision { train: false, why: Vec::new(), hold })
}

fn nothing_trained(outcome: Outcome) -> SliceReport {
    SliceReport {
        outcome,
        step: 0,
        steps: 0,
        losses: Vec::new(),
        obstacles: Vec::new(),
        tokens: 0,
        examples: 0,
        left_out: 0,
        train_time: Duration::ZERO,
        state: [0; 32],
    }
}
