//! The child: an app that does at random whatever the public interface offers, and tells on a pipe
//! what it is about to do and what was acknowledged. It ends when it is killed.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sapwood::learn::split::Shares;
use sapwood::learn::trigger;
use sapwood::sample::Sampling;
use sapwood::signal::{Rating, Signal};
use sapwood::store::{Digest, State, StoreError, digest_of, hex};
use sapwood::{Budget, Config, Consent, Learner, LearnerError, Options, Outcome, Scope};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{LoraConfig, Stop, Target};

use super::keys::FolderKeys;
use sapwood_tests::tiny;

pub const HOUR_MS: u64 = 3_600_000;
/// How long turns are kept.
pub const KEPT_MS: u64 = 96 * HOUR_MS;
/// Updates of a training run.
pub const STEPS: u32 = 3;
const REQUESTS: [&str; 5] = [
    "Triage: my parcel is late",
    "Reply: shall we meet?",
    "Rewrite: pls send it",
    "Triage: I was charged twice",
    "Extract: call Ann at noon",
];

pub fn config(home: &Path, clock: Arc<AtomicU64>) -> Config {
    let mut config = Config::new(home.join("store"), [0; 32]);
    config.keys = Arc::new(FolderKeys(home.join("keys")));
    config.clock = Arc::new(move || clock.load(Ordering::Relaxed));
    config.context_tokens = 512;
    config.retrieval.enabled = false;
    config.retention.max_age_ms = KEPT_MS;
    let learning = &mut config.learning;
    learning.policy.back_off_ms = 0;
    learning.trigger = trigger::Rules {
        category_examples: 1.0,
        all_examples: 1.0,
        sessions: 1,
        cooldown_ms: 0,
        alpha: 0.9,
        default_rate: 0.001,
    };
    learning.split = Shares { train: 100, holdout: 0 };
    learning.train.lora =
        LoraConfig { rank: 1, alpha: 1.0, targets: vec![Target::O, Target::Down] };
    learning.train.steps = STEPS;
    // A whole run has as many updates as the witness expects, however few the lessons are.
    learning.passes = u32::MAX;
    learning.train.batch = 2;
    learning.checkpoint_steps = 1;
    // An adapter of random values is as good as any here: every reply speaks for it.
    learning.watch.healthy_tokens = 1;
    learning.watch.degenerate_replies = u32::MAX;
    learning.watch.slower_us = u32::MAX;
    learning.watch.evidence = f64::MAX;
    config
}

pub fn greedy(max_tokens: usize) -> Options {
    Options { sampling: Sampling::greedy(), max_tokens, record: true }
}

/// What the user does the n-th time with a reply.
fn signal(reply: u128, n: usize) -> Signal {
    match (reply as usize + n) % 4 {
        0 => Signal::Rated { rating: Rating::Up },
        1 => Signal::Accepted,
        _ => Signal::Edited { text: format!("what was meant {n}") },
    }
}

fn short(bytes: &[u8]) -> String {
    hex(&digest_of(bytes))[..16].to_owned()
}

fn name(adapter: Option<Digest>) -> String {
    adapter.map_or_else(|| "base".to_owned(), |digest| hex(&digest)[..16].to_owned())
}

/// A turn's words in a word.
fn gist(request: &str, reply: &str, adapter: Option<Digest>) -> String {
    short(format!("{request}\0{reply}\0{}", name(adapter)).as_bytes())
}

fn tell(line: impl Display) {
    if std::io::stdout().lock().write_all(format!("@{line}\n").as_bytes()).is_err() {
        std::process::exit(1); // nobody listens any more
    }
}

pub struct App {
    home: PathBuf,
    clock: Arc<AtomicU64>,
    random: SplitMix64,
    learner: Option<Learner>,
}

impl App {
    /// Opens what is there, and tells what it found.
    pub fn open(home: &Path, now_ms: u64, seed: u64) -> App {
        let clock = Arc::new(AtomicU64::new(now_ms));
        let mut app = App { home: home.to_owned(), clock, random: SplitMix64(seed), learner: None };
        app.reopen();
        for turn in app.learner().turns() {
            let signals = turn.signals.iter().enumerate();
            let right = signals.take_while(|(n, made)| **made == signal(turn.reply_id, *n));
            let gist = gist(turn.request(), &turn.reply, turn.adapter);
            tell(format_args!("turn {:032x} {gist} {}", turn.reply_id, right.count()));
        }
        tell(format_args!("found {:?} {}", app.learner().consent(), app.store()));
        app
    }

    fn reopen(&mut self) {
        self.learner = None;
        let config = config(&self.home, self.clock.clone());
        match Learner::open(tiny::model(tiny::WIDTH), config) {
            Ok(learner) => self.learner = Some(learner),
            Err(error) => {
                tell(format_args!("fail opening: {error}"));
                panic!("the store can't be opened");
            }
        }
    }

    fn learner(&self) -> &Learner {
        self.learner.as_ref().expect("it is open")
    }

    /// What is in force, and every adapter with its state.
    fn store(&self) -> String {
        let mut line = name(self.learner().adapter_in_force());
        for known in self.learner().adapters() {
            line += &format!(" {}:{:?}", name(Some(known.digest)), known.state);
        }
        line
    }

    fn done(&self, what: impl Display) {
        tell(format_args!("done {what} ; {}", self.store()));
    }

    /// Works until it is killed.
    pub fn work(&mut self) -> ! {
        if self.learner().consent() != Consent::Granted {
            self.consent(Consent::Granted);
        }
        if self.random.below(2) == 0 {
            tell("begin benign");
            self.sure(self.learner().exit_was_benign());
            self.done("benign");
        }
        loop {
            match self.random.below(100) {
                0..35 => self.talk(),
                35..60 => self.signal(),
                60..64 => self.flush(),
                64..69 => self.stage(),
                69..71 => self.stage_again(),
                71..78 => self.activate(),
                78..80 => self.roll_back(),
                80..89 => (0..=self.random.below(STEPS as usize)).for_each(|_| self.train()),
                89..95 => self.forget(),
                95 => {
                    self.consent(Consent::Refused);
                    self.consent(Consent::Granted);
                }
                96..98 => self.wait(),
                _ => {
                    tell("begin reopen");
                    self.reopen();
                    self.done("reopen");
                }
            }
        }
    }

    fn sure<T>(&self, result: Result<T, LearnerError>) -> T {
        result.unwrap_or_else(|error| {
            tell(format_args!("fail {error}"));
            panic!("what can't fail has failed");
        })
    }

    fn consent(&mut self, consent: Consent) {
        tell(format_args!("begin consent {consent:?}"));
        self.sure(self.learner().set_consent(consent));
        self.done(format_args!("consent {consent:?}"));
    }

    /// A conversation of one or two turns. How the first one goes depends on the adapter alone.
    fn talk(&mut self) {
        let chat = self.sure(self.learner().chat("mail", None, Vec::new()));
        for turn in 0..1 + self.random.below(2) {
            let at = self.random.below(REQUESTS.len());
            tell("begin talk");
            let reply = chat.respond(REQUESTS[at], greedy(3)).and_then(|going| going.finish());
            let reply = self.sure(reply);
            let gist = gist(REQUESTS[at], &reply.text, reply.adapter);
            let (id, adapter) = (reply.id, name(reply.adapter));
            let alone = if turn == 0 { format!("{adapter}/{at}") } else { "-".to_owned() };
            self.done(format_args!("talk {id:032x} {gist} {alone} {}", self.now_ms()));
        }
    }

    fn signal(&mut self) {
        let turns = self.learner().turns();
        let Some(turn) = turns.get(self.random.below(turns.len().max(1))) else { return };
        let id = turn.reply_id;
        tell(format_args!("begin signal {id:032x}"));
        self.sure(self.learner().signal(id, signal(id, turn.signals.len())));
        self.done(format_args!("signal {id:032x}"));
    }

    fn flush(&mut self) {
        tell("begin flush");
        self.sure(self.learner().flush());
        self.done("flush");
    }

    fn stage(&mut self) {
        let lineage: Vec<u128> = match self.random.below(2) {
            0 => Vec::new(),
            _ => self.learner().turns().iter().map(|turn| turn.reply_id).take(2).collect(),
        };
        let seed = self.random.bits();
        let bytes = tiny::adapter(self.learner().model(), seed, &lineage);
        let digest = name(Some(digest_of(&bytes)));
        // Not part of the store: so that it can be tried again.
        fs::create_dir_all(self.home.join("made")).expect("the disk works");
        fs::write(self.home.join("made").join(&digest), &bytes).expect("the disk works");
        tell(format_args!("begin stage {digest}"));
        self.sure(self.learner().stage(&bytes));
        self.done(format_args!("stage {digest}"));
    }

    /// Stages something that was staged before, and may have been taken back since.
    fn stage_again(&mut self) {
        let Ok(made) = fs::read_dir(self.home.join("made")) else { return };
        let mut made: Vec<PathBuf> = made.filter_map(|file| Some(file.ok()?.path())).collect();
        if made.is_empty() {
            return; // killed before the first one was written
        }
        made.sort();
        let path = &made[self.random.below(made.len())];
        let bytes = fs::read(path).expect("the disk works");
        let digest = path.file_name().expect("it is a file").display().to_string();
        if name(Some(digest_of(&bytes))) != digest {
            return; // killed while it was written
        }
        tell(format_args!("begin stage {digest}"));
        match self.learner().stage(&bytes) {
            Err(LearnerError::Store(StoreError::Refused { .. })) => {
                self.done(format_args!("refused {digest}"));
            }
            staged => {
                self.sure(staged);
                self.done(format_args!("stage {digest}"));
            }
        }
    }

    fn activate(&mut self) {
        let known = self.learner().adapters();
        let in_state = |state| known.iter().rfind(|known| known.state == state);
        let (Some(staged), None) = (in_state(State::Staged), in_state(State::Probation)) else {
            return;
        };
        tell(format_args!("begin activate {}", name(Some(staged.digest))));
        self.sure(self.learner().activate(&staged.digest));
        self.done(format_args!("activate {}", name(Some(staged.digest))));
    }

    fn roll_back(&mut self) {
        let known = self.learner().adapters();
        if !known.iter().any(|known| matches!(known.state, State::Active | State::Probation)) {
            return;
        }
        tell("begin rollback");
        let taken = self.sure(self.learner().rollback());
        self.done(format_args!("rollback {}", name(Some(taken))));
    }

    fn train(&mut self) {
        tell("begin slice");
        let budget = Budget { time: Duration::from_secs(60), steps: Some(1) };
        let report = self.sure(self.learner().train_slice(budget, &Stop::new()));
        let outcome = match report.outcome {
            Outcome::Waiting(_) => "waiting",
            Outcome::Paused => "paused",
            Outcome::Promoted { .. } | Outcome::Rejected { .. } => "judged",
        };
        let losses: Vec<_> = report.losses.iter().map(|loss| loss.to_bits().to_string()).collect();
        self.done(format_args!("slice {outcome} {}", losses.join(" ")));
    }

    fn forget(&mut self) {
        let turns = self.learner().turns();
        let Some(turn) = turns.get(self.random.below(turns.len().max(1))) else { return };
        let scope = match self.random.below(8) {
            0 => Scope::Everything,
            1 => Scope::Time { from_ms: turn.time_ms, until_ms: turn.time_ms + 1 },
            2 | 3 => Scope::Conversation(turn.session),
            _ => Scope::Reply(turn.reply_id),
        };
        let held = turns.iter().filter(|other| match &scope {
            Scope::Everything => true,
            Scope::Time { from_ms, .. } => other.time_ms == *from_ms,
            Scope::Conversation(session) => other.session == *session,
            _ => other.reply_id == turn.reply_id,
        });
        let held: Vec<String> = held.map(|turn| format!("{:032x}", turn.reply_id)).collect();
        tell(format_args!("begin forget {}", held.join(" ")));
        let receipt = self.sure(self.learner().forget(&scope));
        let gone: Vec<String> = receipt.replies.iter().map(|id| format!("{id:032x}")).collect();
        self.done(format_args!("forget {:?} {}", receipt.erasure, gone.join(" ")));
    }

    /// Time goes by: a while, or so long that segments are old enough to be joined or dropped.
    fn wait(&mut self) {
        let hours = [1, 7, 13, 13][self.random.below(4)];
        self.clock.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
        self.done(format_args!("wait {}", self.now_ms()));
    }

    fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
}
