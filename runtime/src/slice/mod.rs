//! Time that the host lends: a slice begins or continues a training run, judges what came of it,
//! and puts it in force or throws it away.
//!
//! A slice may be killed at any instant. What it had not saved is computed again, to the same
//! bits: the checkpoint holds all that the next step depends on.

mod evaluate;
mod run;

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use sapwood_models::{Adapter, Layout, Provenance, Stop};

use crate::error::LearnerError;
use crate::journal::{Record, UsedByGeneration};
use crate::learn::example::{Example, judged};
use crate::learn::gate::{Verdict, judge};
use crate::learn::split::{Divided, divide};
use crate::learn::train::{TrainConfig, TrainState, Trainer};
use crate::learn::trigger::{Decision, Lesson as Stock, Observation, Situation, baseline, decide};
use crate::learner::Learner;
use crate::memory::Memory;
use crate::prompt::{Prompt, Shot};
use crate::shared::{Kept, Shared};
use crate::store::{Change, Digest, Meta, Metric, Reason, Store, digest_of};
use evaluate::{Arm, Evaluation};
use run::{Content, Lesson, Run};

/// How much a slice may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Wall-clock time.
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
    /// Tokens trained on in this slice.
    pub tokens: u64,
    /// Examples that the run learns from.
    pub examples: u32,
    /// Time spent training in this slice.
    pub train_time: Duration,
    /// SHA-256 of the run's whole state: runs with the same digest go on to the same bits.
    pub state: Digest,
}

impl fmt::Display for SliceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Waiting(decision) => write!(f, "{decision}"),
            Outcome::Paused => write!(f, "paused at step {} of {}", self.step, self.steps),
            Outcome::Promoted { verdict, .. } | Outcome::Rejected { verdict } => {
                write!(f, "{verdict}")
            }
        }
    }
}

impl Learner {
    /// Trains within `budget`, or judges the run that has ended. Returns early when there is
    /// nothing to do; obeys `stop` between two programs, which is well under half a second on the
    /// models this is for. Calls take turns; replies go on meanwhile.
    ///
    /// # Errors
    /// A full or failing disk, or a model that gives no finite numbers. Nothing is lost: the next
    /// slice goes on from the last checkpoint.
    pub fn train_slice(&self, budget: Budget, stop: &Stop) -> Result<SliceReport, LearnerError> {
        let _turn = self.shared.training.lock().expect("nothing panics under this lock");
        let deadline = Instant::now() + budget.time;
        Slice { shared: &self.shared, deadline, steps: budget.steps, stop }.work()
    }

    /// Judges an adapter that was made elsewhere, and puts it in force on probation if it is good
    /// enough. The gate is the same that the learner's own candidates pass.
    ///
    /// # Errors
    /// As [`Learner::stage`] and [`Learner::train_slice`].
    pub fn consider(&self, adapter: &[u8], stop: &Stop) -> Result<Outcome, LearnerError> {
        let _turn = self.shared.training.lock().expect("nothing panics under this lock");
        let slice = Slice { shared: &self.shared, deadline: Instant::now(), steps: None, stop };
        let digest = self.shared.stage(adapter, None)?;
        let outcome = slice.judge_staged(&digest, &[], u64::MAX)?;
        outcome.ok_or(LearnerError::Model(sapwood_models::ModelError::Stopped))
    }
}

/// Most tokens of an anchor's answer.
const ANCHOR_TOKENS: usize = 128;

struct Slice<'a> {
    shared: &'a Shared,
    deadline: Instant,
    steps: Option<u32>,
    stop: &'a Stop,
}

impl Slice<'_> {
    fn work(&self) -> Result<SliceReport, LearnerError> {
        let run = match self.resume()? {
            Some(run) => run,
            None => match self.begin()? {
                Ok(run) => run,
                Err(decision) => return Ok(waiting(decision)),
            },
        };
        let started = Instant::now();
        let tokens_before = run.tokens();
        let (run, adapter) = self.train(run)?;
        let mut report = SliceReport {
            outcome: Outcome::Paused,
            step: run.step(),
            steps: self.shared.config.learning.train.steps,
            losses: run.losses().to_vec(),
            tokens: run.tokens() - tokens_before,
            examples: run.examples,
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

    /// The run under way. One that was made under other settings or for another parent, or whose
    /// data was forgotten, is dropped.
    fn resume(&self) -> Result<Option<Run>, LearnerError> {
        let mut kept = self.shared.kept();
        let Some(bytes) = kept.store.load_checkpoint()? else { return Ok(None) };
        let valid = Run::from_archive(&bytes).filter(|run| {
            run.settings == self.settings()
                && run.parent == kept.store.active().map(|g| g.digest)
                && run.lineage.iter().all(|reply| kept.ledger.contains(*reply))
        });
        if valid.is_none() {
            kept.store.clear_checkpoint()?;
        }
        Ok(valid)
    }

    fn settings(&self) -> Digest {
        let learning = &self.shared.config.learning;
        Run::settings_digest(&format!("{:?} {:?}", learning.train, learning.mix))
    }

    /// Decides whether to train, and if so writes down everything that the run depends on.
    fn begin(&self) -> Result<Result<Run, Decision>, LearnerError> {
        let shared = self.shared;
        let (divided, decision, parent) = {
            let kept = shared.kept();
            let divided = self.divided(&kept, u64::MAX);
            let decision = decide(&self.situation(&kept, &divided.train), &self.trigger());
            (divided, decision, kept.store.active().map(|g| g.digest))
        };
        if !decision.train {
            return Ok(Err(decision));
        }
        let started_ms = shared.now_ms();
        let since = self.last_promotion_ms(&shared.kept().store);
        // What the gate will ask about must not be seen in training, not even as an example shown.
        let kept_back = divided.holdout.iter().chain(&divided.shadow);
        let kept_back: HashSet<u128> = kept_back.flat_map(|e| e.lineage.clone()).collect();
        let memory = shared.memory(&shared.kept(), &kept_back);
        let (mut new, mut replay) = (Vec::new(), Vec::new());
        let mut lineage: Vec<u128> = Vec::new();
        for example in &divided.train {
            lineage.extend(&example.lineage);
            let is_new = example.authored() && example.time_ms >= since;
            let target = if is_new { &mut new } else { &mut replay };
            target.extend(self.lessons(&memory, example)?);
        }
        let anchors = self.anchors(&memory)?;
        let config = &shared.config.learning.train;
        let state = self.first_state(parent, config)?;
        let content = Content {
            settings: self.settings(),
            started_ms,
            parent,
            seed: shared.config.seed ^ started_ms,
            new,
            replay,
            anchors,
            lineage,
            examples: divided.train.len() as u32,
        };
        let run = Run::new(content, state);
        shared.kept().store.save_checkpoint(&run.archive())?;
        Ok(Ok(run))
    }

    /// From the adapter in force, so that little is learned twice; afresh if that one has another
    /// shape than the settings ask for.
    fn first_state(
        &self,
        parent: Option<Digest>,
        config: &TrainConfig,
    ) -> Result<TrainState, LearnerError> {
        let shared = self.shared;
        if let Some(digest) = parent {
            let bytes = shared.kept().store.adapter_bytes(&digest)?;
            let adapter = shared.load(&bytes)?;
            if *adapter.layout() == Layout::new(shared.model.arch(), &config.lora) {
                return Ok(TrainState::new(adapter.values()));
            }
        }
        Ok(TrainState::fresh(&shared.model, config, shared.config.seed))
    }

    fn trigger(&self) -> crate::learn::trigger::Rules {
        self.shared.config.learning.trigger.clone()
    }

    /// An example becomes two lessons: as it is, and behind the past exchanges that retrieval
    /// would show. So the adapter learns to answer with them and without.
    fn lessons(&self, memory: &Memory, example: &Example) -> Result<Vec<Lesson>, LearnerError> {
        let shots = self.shared.shots(memory, &example.surface, &example.prompt, &example.lineage);
        let plain = evaluate::prompt(example, Vec::new());
        self.variants(plain, shots, &example.target, example.weight as f32)
    }

    /// The app's anchors with the base model's answers. Behind unrelated exchanges they teach the
    /// adapter not to copy what does not fit.
    fn anchors(&self, memory: &Memory) -> Result<Vec<Lesson>, LearnerError> {
        let shared = self.shared;
        let mut lessons = Vec::new();
        for anchor in &shared.config.learning.anchors {
            let prompt = Prompt { turns: anchor.turns.clone(), ..Prompt::default() };
            let answer = evaluate::greedy(shared, None, &prompt, ANCHOR_TOKENS, self.stop)?;
            let shots = shared.shots(memory, &anchor.surface, &anchor.turns, &[]);
            lessons.extend(self.variants(prompt, shots, &answer, 1.0)?);
        }
        Ok(lessons)
    }

    fn variants(
        &self,
        plain: Prompt,
        shots: Vec<Shot>,
        answer: &str,
        weight: f32,
    ) -> Result<Vec<Lesson>, LearnerError> {
        let behind = (!shots.is_empty()).then(|| Prompt { shots, ..plain.clone() });
        let limit = self.shared.config.context_tokens;
        let lesson = |prompt: Prompt| {
            let sequence = prompt.sequence(&self.shared.model, answer, limit)?;
            let prompt_len = sequence.targets.iter().take_while(|t| !**t).count() as u32;
            Ok(Lesson { ids: sequence.ids, prompt_len, weight })
        };
        std::iter::once(plain).chain(behind).map(lesson).collect()
    }

    /// Trains until the run is done, the time is over, or a stop is asked for. The adapter is
    /// there only when the run is done.
    fn train(&self, mut run: Run) -> Result<(Run, Option<Adapter>), LearnerError> {
        let learning = &self.shared.config.learning;
        let plan = run.plan(learning.mix, learning.train.batch);
        let mut trainer =
            Trainer::new(&self.shared.model, learning.train.clone(), run.take_state());
        let mut saved = trainer.state().step;
        let last_step = self.steps.map_or(u32::MAX, |steps| saved.saturating_add(steps));
        let mut last = Duration::ZERO;
        while !trainer.is_done() {
            let started = Instant::now();
            // A micro-step that would overrun the budget is not begun.
            let enough = trainer.state().step >= last_step || started + last > self.deadline;
            if enough || self.stop.is_requested() {
                break;
            }
            let rows = plan.step(u64::from(trainer.state().step));
            let (source, index) = rows[trainer.state().micro as usize];
            let lesson = run.lesson(source, index);
            match trainer.micro_step(&lesson.sequence(), lesson.weight, self.stop) {
                Err(sapwood_models::ModelError::Stopped) => break,
                done => done?,
            }
            last = started.elapsed();
            if trainer.state().step >= saved + learning.checkpoint_steps.max(1) {
                saved = trainer.state().step;
                run.set_state(trainer.state());
                self.shared.kept().store.save_checkpoint(&run.archive())?;
            }
        }
        let done = trainer.is_done();
        let (adapter, state) = trainer.into_adapter();
        run.set_state(&state);
        self.shared.kept().store.save_checkpoint(&run.archive())?;
        Ok((run, done.then_some(adapter)))
    }

    /// Stages the run's adapter and judges it; `None` if a stop came first.
    fn judge_run(&self, run: &Run, adapter: &Adapter) -> Result<Option<Outcome>, LearnerError> {
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
        let outcome = self.judge_staged(&digest, &run.lineage, run.started_ms)?;
        if outcome.is_some() {
            shared.kept().store.clear_checkpoint()?;
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
    fn judge_staged(
        &self,
        digest: &Digest,
        learned: &[u128],
        until_ms: u64,
    ) -> Result<Option<Outcome>, LearnerError> {
        let shared = self.shared;
        let (held_out, attempt) = {
            let kept = shared.kept();
            let divided = self.divided(&kept, until_ms);
            let held_out: Vec<Example> =
                divided.holdout.into_iter().chain(divided.shadow).collect();
            (held_out, self.attempt(&kept.store))
        };
        let candidate = shared.load(&shared.kept().store.adapter_bytes(digest)?)?;
        let since = self.last_promotion_ms(&shared.kept().store);
        let pinned = shared.in_force();
        let evaluation = {
            let kept = shared.kept();
            let learned = learned.iter().copied().collect();
            let before = kept.ledger.lineage(pinned.digest.as_ref());
            let arm = |adapter, learned| Arm { adapter, memory: shared.memory(&kept, learned) };
            Evaluation {
                shared,
                candidate: arm(Some(&candidate), &learned),
                production: arm(pinned.adapter.as_ref(), &before),
                retrieval: kept.retrieval_enabled,
                since_ms: since,
                stop: self.stop,
            }
        };
        let Some(report) = evaluation.report(&held_out, attempt)? else {
            return Ok(None);
        };
        let verdict = Box::new(judge(&report, &shared.config.learning.thresholds));
        let mut kept = shared.kept();
        if !verdict.promote {
            kept.store.turn_down(digest)?;
            return Ok(Some(Outcome::Rejected { verdict }));
        }
        // Before anything else: who is asked to forget has to find every adapter that knows.
        let used = UsedByGeneration {
            digest: *digest,
            reply_ids: learned.to_vec(),
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

    fn divided(&self, kept: &Kept, until_ms: u64) -> Divided {
        let shared = self.shared;
        let mut examples = shared.examples(kept);
        examples.retain(|e| e.time_ms <= until_ms);
        let promotions: Vec<u64> = promotions(&kept.store).collect();
        let since = |time_ms| promotions.iter().filter(|&&p| p > time_ms).count() as u32;
        // Likeness by embeddings is what retrieval goes by; the split goes by words.
        divide(
            examples,
            &shared.config.seed.to_le_bytes(),
            shared.config.learning.split,
            since,
            |_, _| 0.0,
        )
    }

    fn situation(&self, kept: &Kept, train: &[Example]) -> Situation {
        let shared = self.shared;
        let since = self.last_promotion_ms(&kept.store);
        let scored = judged(kept.ledger.turns(), &shared.rules(kept));
        let default_rate = shared.config.learning.trigger.default_rate;
        let mut before = std::collections::BTreeMap::<String, Vec<f64>>::new();
        for j in scored.iter().filter(|j| j.time_ms < since) {
            before.entry(j.category.clone()).or_default().push(j.badness());
        }
        Situation {
            observations: scored
                .iter()
                .filter(|j| j.time_ms >= since)
                .map(|j| Observation { category: j.category.clone(), bad: j.badness() })
                .collect(),
            lessons: train
                .iter()
                .filter(|e| e.time_ms >= since)
                .map(|e| Stock {
                    category: e.category.clone(),
                    session: e.session,
                    weight: e.weight,
                })
                .collect(),
            baselines: before
                .into_iter()
                .map(|(category, bads)| (category, baseline(&bads, default_rate)))
                .collect(),
            last_trained_ms: kept.store.events().last().map(|e| e.time_ms),
            now_ms: shared.now_ms(),
            device_ready: kept.device.allows_training(),
            ..Situation::default()
        }
    }

    fn last_promotion_ms(&self, store: &Store) -> u64 {
        promotions(store).max().unwrap_or(0)
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

fn promotions(store: &Store) -> impl Iterator<Item = u64> {
    let confirmed = store.events().iter().filter(|e| e.change == Change::Confirmed);
    confirmed.map(|e| e.time_ms)
}

fn waiting(decision: Decision) -> SliceReport {
    SliceReport {
        outcome: Outcome::Waiting(decision),
        step: 0,
        steps: 0,
        losses: Vec::new(),
        tokens: 0,
        examples: 0,
        train_time: Duration::ZERO,
        state: [0; 32],
    }
}
