//! Where the demo plays: the learner, its clock, and what is said to the reader.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sapwood::learn::batch::Mix;
use sapwood::learn::optimizer::{AdamW, Schedule};
use sapwood::learn::split::Shares;
use sapwood::learn::train::TrainConfig;
use sapwood::rng::Rng;
use sapwood::sample::Sampling;
use sapwood::store::{Digest, State, hex};
use sapwood::{
    Anchor, Budget, Config, Consent, Learner, Learning, Options, Outcome, Retrieval, SliceReport,
};
use sapwood_models::{LoraConfig, Message, Role, Stop, Target};
use serde_json::{Value, json};

use super::grammar::{Split, User};
use super::measure::{history, unchanged_tasks};
use super::user::SimulatedUser;
use crate::model::{DeviceArguments, embedded};
use crate::output::{Failure, rounded};

/// The simulated time of day zero, in milliseconds since 1970: 1 January 2026.
const START_MS: u64 = 1_767_225_600_000;

/// The adapter that was trained, judged and put in force.
pub struct Trained {
    pub adapter: Digest,
    pub gate: Value,
    pub swap: Value,
    pub examples: u32,
    pub steps: u32,
    pub in_force_at: Instant,
}

pub struct Stage {
    dir: PathBuf,
    seed: u64,
    device: DeviceArguments,
    learner: Option<Learner>,
    now_ms: Arc<AtomicU64>,
    trained_tokens: u64,
    train_time: Duration,
    pub started: Instant,
}

/// The first digits of a digest, or the base model.
pub fn short(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "the base model".to_owned(), |d| hex(d)[..12].to_owned())
}

/// A reply with one right text: greedy, and short.
pub fn options(record: bool) -> Options {
    Options { sampling: Sampling::greedy(), max_tokens: 96, record }
}

/// What a learner of the demo is opened with. The same in the process that gets killed.
fn config(dir: &Path, seed: u64, clock: Arc<AtomicU64>) -> Config {
    let train = TrainConfig {
        lora: LoraConfig { rank: 8, alpha: 16.0, targets: Target::ALL.to_vec() },
        optimizer: AdamW { learning_rate: 8e-4, ..AdamW::default() },
        schedule: Schedule::Cosine { warmup_steps: 10 },
        steps: 600,
        batch: 8,
    };
    Config {
        context_tokens: 768,
        retrieval: Retrieval { examples: 3, min_similarity: 0.33, ..Retrieval::default() },
        learning: Learning {
            train,
            mix: Mix { new: 0.22, replay: 0.08, anchor: 0.7 },
            // All updates, from twelve days of work: its texts are made up and hold no secret.
            passes: u32::MAX,
            // The gate needs a few dozen conversations to be sure of anything.
            split: Shares { train: 60, holdout: 20 },
            checked_items: 120,
            anchors: anchors(seed),
            exact: true,
            ..Learning::default()
        },
        seed,
        reproducible: true,
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        // The folder is temporary, and so is what the key protects.
        ..Config::new(dir, [7; 32])
    }
}

/// What an app would ship: typical prompts of its surfaces, in phrasings of its own.
fn anchors(seed: u64) -> Vec<Anchor> {
    let (user, mut rng) = (User::draw(seed), Rng::at(seed, &[0xa2c]));
    let tasks = unchanged_tasks(&user, &mut rng);
    let anchor = |i: usize| {
        let split = if i.is_multiple_of(2) { Split::Anchor } else { Split::Train };
        let item = user.known_item(&tasks[i / 2 % tasks.len()], split, &mut rng);
        let mut turns = history(&item);
        turns.push(Message::new(Role::User, item.prompt));
        Anchor { surface: item.task, turns }
    };
    (0..ANCHORS).map(anchor).collect()
}

/// Prompts among the anchors.
const ANCHORS: usize = 2000;

impl Stage {
    pub fn open(dir: &Path, seed: u64, device: DeviceArguments) -> Result<Stage, Failure> {
        let mut stage = Stage {
            dir: dir.to_owned(),
            seed,
            device,
            learner: None,
            now_ms: Arc::new(AtomicU64::new(START_MS)),
            trained_tokens: 0,
            train_time: Duration::ZERO,
            started: Instant::now(),
        };
        stage.reopen()?;
        stage.learner().set_consent(Consent::Granted)?;
        Ok(stage)
    }

    pub fn learner(&self) -> &Learner {
        self.learner.as_ref().expect("open between the acts")
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A learner as this stage's, on another folder.
    pub fn open_on(&self, dir: &Path) -> Result<Learner, Failure> {
        let (model, _) = self.device.open(embedded())?;
        Ok(Learner::open(model, config(dir, self.seed, self.now_ms.clone()))?)
    }

    /// Everything that is in memory goes, as at the end of a process.
    pub fn close(&mut self) {
        self.learner = None;
    }

    pub fn reopen(&mut self) -> Result<(), Failure> {
        self.close();
        self.learner = Some(self.open_on(&self.dir)?);
        Ok(())
    }

    /// Lets simulated time pass.
    pub fn wait(&self, minutes: u64) {
        self.now_ms.fetch_add(minutes * 60_000, Ordering::Relaxed);
    }

    pub fn title(&self, text: &str) {
        eprintln!("\n[{:5.1} s] {text}", self.started.elapsed().as_secs_f64());
    }

    pub fn say(&self, text: &str) {
        for line in text.lines() {
            eprintln!("   {line}");
        }
    }

    pub fn bar(&self, length: u64, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("   {msg:12} {bar:40} {pos}/{len}");
        let style = style.expect("the template is sound");
        ProgressBar::new(length).with_style(style).with_message(what.to_owned())
    }

    /// One slice of the run, counted for the figures.
    pub fn slice(&mut self, budget: Budget) -> Result<SliceReport, Failure> {
        let report = self.learner().train_slice(budget, &Stop::new())?;
        self.trained_tokens += report.tokens;
        self.train_time += report.train_time;
        Ok(report)
    }

    pub fn tokens_per_second(&self) -> f64 {
        self.trained_tokens as f64 / self.train_time.as_secs_f64().max(1e-9)
    }

    /// Trains to the end; the candidate is judged, and swapped in while a reply is under way.
    pub fn finish_training(&mut self, user: &SimulatedUser) -> Result<Trained, Failure> {
        let chat = self.learner().chat("reply", None, Vec::new())?;
        let mut running = chat.respond(&user.long_request(), options(false))?;
        let before = self.learner().adapter_in_force();
        running.next().transpose()?;
        let report = self.train_to_the_end()?;
        let in_force_at = Instant::now();
        let Outcome::Promoted { adapter, verdict, swap_time } = &report.outcome else {
            self.say(&report.to_string());
            return Err("the candidate was not promoted: see the gate's reasons above".into());
        };
        self.say(&verdict.to_string());
        let old = running.finish()?;
        let new = chat.respond(&user.long_request(), options(false))?.finish()?;
        self.say(&format!(
            "the reply that was under way ended on {}; the next one is by {}",
            short(old.adapter.as_ref()),
            short(new.adapter.as_ref())
        ));
        Ok(Trained {
            adapter: *adapter,
            gate: gate_json(verdict),
            swap: json!({
                "in_flight_adapter_unchanged": old.adapter == before,
                "new_reply_adapter": new.adapter.as_ref().map(hex),
                "swapped": new.adapter == Some(*adapter),
                "swap_ms": rounded(swap_time.as_secs_f64() * 1e3, 3),
            }),
            examples: report.examples,
            steps: report.steps,
            in_force_at,
        })
    }

    fn train_to_the_end(&mut self) -> Result<SliceReport, Failure> {
        let mut bar = None;
        loop {
            let report = self.slice(Budget::time(Duration::from_secs(1)))?;
            let bar = bar.get_or_insert_with(|| self.bar(report.steps.into(), "training"));
            bar.set_position(report.step.into());
            if report.outcome != Outcome::Paused {
                bar.finish();
                return Ok(report);
            }
        }
    }

    /// The user works on until the candidate has earned its place.
    pub fn confirm(&mut self, user: &mut SimulatedUser) -> Result<(), Failure> {
        for _ in 0..5 {
            let candidate = self.learner().adapters().iter().any(|g| g.state == State::Probation);
            if !candidate {
                break;
            }
            user.work(self, 1)?;
        }
        let in_force = self.learner().adapter_in_force();
        let state =
            self.learner().adapters().iter().find(|g| Some(g.digest) == in_force).map(|g| g.state);
        self.say(&format!("after probation: {} is {state:?}", short(in_force.as_ref())));
        match state {
            Some(State::Active) => Ok(()),
            _ => Err("the adapter did not come through its probation".into()),
        }
    }
}

fn gate_json(verdict: &sapwood::learn::gate::Verdict) -> Value {
    json!({
        "verdict": if verdict.promote { "promote" } else { "reject" },
        "false_promotion_at_most": verdict.alpha,
        "guarantee": verdict.guarantee(),
        "attempt": verdict.attempt,
        "reasons": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "not_worse": { "mean": verdict.not_worse.mean, "evidence": verdict.not_worse.wealth.peak, "needed": verdict.not_worse.needed },
        "better": { "mean": verdict.better.mean, "evidence": verdict.better.wealth.peak, "needed": verdict.better.needed },
        "negative_flips": verdict.regression.losses,
        "table": verdict.to_string(),
    })
}
