//! The processes: two learners, one capture, and one that only looks. The first three do at random
//! what the public interface offers, until they are killed.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sapwood::signal::Signal;
use sapwood::store::{Digest, State, StoreError, digest_of, hex};
use sapwood::vault::VaultError;
use sapwood::{Budget, Capture, Config, Consent, Learner, LearnerError, Scope, Shown};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{Message, Role, Stop};
use sapwood_tests::tiny;

use super::history::now;
use crate::app::{self, HOUR_MS, greedy};

/// Channels of the other base model.
const OTHER: usize = 64;
/// Before each request, so that it is one.
const REQUEST: &str = "Triage: ";

/// Whether an error says that another process was faster: it changed the keys or the base model, or
/// the adapter that was looked at a moment ago is not where it was.
fn is_elsewhere(error: &LearnerError) -> bool {
    use StoreError::{
        Busy, CandidateExists, ChangedElsewhere, NothingToRollBack, Unknown, WrongState,
    };
    let LearnerError::Store(error) = error else {
        let vault =
            |error: &VaultError| matches!(error, VaultError::ChangedElsewhere | VaultError::Busy);
        return matches!(error, LearnerError::Vault(error) if vault(error));
    };
    matches!(
        error,
        Busy | CandidateExists
            | ChangedElsewhere
            | NothingToRollBack
            | Unknown { .. }
            | WrongState { .. }
    )
}

fn tell(line: impl Display) {
    let line = format!("@{} {line}\n", now());
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the disk works");
}

/// Does something, and tells of it before and after. `None`: another process was faster.
fn act<T>(
    what: impl Display,
    work: impl FnOnce() -> Result<T, LearnerError>,
    answer: impl FnOnce(&T) -> String,
) -> Option<T> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    tell(format_args!("{number} begin {what}"));
    match work() {
        Ok(done) => {
            tell(format_args!("{number} done {}", answer(&done)));
            Some(done)
        }
        Err(error) if is_elsewhere(&error) => {
            tell(format_args!("{number} lost"));
            None
        }
        Err(error) => {
            tell(format_args!("failed in {what}: {error}"));
            panic!("what can't fail has failed: {error:?}");
        }
    }
}

fn nothing<T>(_: &T) -> String {
    String::new()
}

fn name(adapter: Option<Digest>) -> String {
    adapter.map_or_else(|| "base".to_owned(), |digest| hex(&digest)[..16].to_owned())
}

/// A word that nobody has said before, without anything in it that looks like a secret.
fn word(random: &mut SplitMix64) -> String {
    (0..12).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

/// A random number that names a reply or a conversation, cut to what is enough.
fn short(id: u128) -> String {
    format!("{:016x}", id as u64)
}

fn ids(ids: impl IntoIterator<Item = u128>) -> String {
    ids.into_iter().map(|id| format!(" {}", short(id))).collect()
}

/// Configuration of a process whose clock goes wrong by up to an hour.
fn config(store: &Path, random: &mut SplitMix64) -> Config {
    let mut config = app::config(store, Arc::default());
    let ahead_ms = [0, 0, HOUR_MS / 2, HOUR_MS][random.below(4)];
    config.clock = Arc::new(move || now() / 1_000_000 - HOUR_MS / 2 + ahead_ms);
    config
}

/// A process with a model.
pub struct Pupil {
    store: PathBuf,
    config: Config,
    random: SplitMix64,
    /// Whether it changes its base model now and then.
    moves: bool,
    width: usize,
    learner: Option<Learner>,
}

impl Pupil {
    pub fn new(store: &Path, seed: u64, moves: bool) -> Pupil {
        let mut random = SplitMix64(seed);
        let config = config(store, &mut random);
        let store = store.to_owned();
        Pupil { store, config, random, moves, width: tiny::WIDTH, learner: None }
    }

    /// Works until it is killed.
    pub fn work(&mut self) -> ! {
        self.reopen();
        loop {
            if self.step().is_none() {
                self.reopen();
            }
        }
    }

    fn reopen(&mut self) {
        if self.moves {
            self.width = [tiny::WIDTH, tiny::WIDTH, OTHER][self.random.below(3)];
        }
        self.learner = None;
        while self.learner.is_none() {
            let (width, config) = (self.width, self.config.clone());
            self.learner = act(
                format_args!("open {width}"),
                || Learner::open(tiny::model(width), config),
                |learner| ids(learner.turns().iter().map(|turn| turn.reply_id)),
            );
        }
    }

    fn learner(&self) -> &Learner {
        self.learner.as_ref().expect("it is open")
    }

    fn step(&mut self) -> Option<()> {
        match self.random.below(100) {
            0..34 => self.reply(),
            34..56 => self.signal(),
            56..60 => act("flush", || self.learner().flush(), nothing),
            60..64 => self.stage(),
            64..66 => self.stage_again(),
            66..73 => self.activate(),
            73..75 => self.roll_back(),
            75..77 => self.refuse(),
            77..87 => self.train(),
            87..91 => self.forget(),
            91..96 => self.say(),
            96..98 => act("benign", || self.learner().exit_was_benign(), nothing),
            _ => None,
        }
    }

    /// A word on consent: no now and then, and yes again when somebody has said no.
    fn say(&mut self) -> Option<()> {
        let word = match self.learner().consent() {
            Consent::Granted if self.random.below(2) == 0 => Consent::Refused,
            _ => Consent::Granted,
        };
        act(format_args!("consent {word:?}"), || self.learner().set_consent(word), nothing)
    }

    /// A conversation of one or two turns.
    fn reply(&mut self) -> Option<()> {
        let chat = self.learner().chat("mail", None, Vec::new()).expect("there is randomness");
        for _ in 0..=self.random.below(2) {
            let token = word(&mut self.random);
            let learner = self.learner();
            act(
                format_args!("reply {token} {}", self.width),
                || chat.respond(&format!("{REQUEST}{token}"), greedy(3))?.finish(),
                |reply| {
                    let turns = learner.turns();
                    let session = turns.iter().find(|turn| turn.reply_id == reply.id);
                    let session = session.map_or(0, |turn| turn.session);
                    let made = format!("{} {} {}", short(reply.id), short(session), reply.kept);
                    let seen = ids(turns.iter().map(|turn| turn.reply_id));
                    format!("{made} {} {:?}{seen}", name(reply.adapter), learner.consent())
                },
            )?;
        }
        Some(())
    }

    fn signal(&mut self) -> Option<()> {
        let turns = self.learner().turns();
        let Some(turn) = turns.get(self.random.below(turns.len().max(1))) else {
            return Some(());
        };
        let text = word(&mut self.random);
        signal(turn.reply_id, turn.session, text, |id, made| self.learner().signal(id, made))
    }

    fn stage(&mut self) -> Option<()> {
        let lineage: Vec<u128> = match self.random.below(2) {
            0 => Vec::new(),
            _ => self.learner().turns().iter().map(|turn| turn.reply_id).take(2).collect(),
        };
        let seed = self.random.bits();
        let bytes = tiny::adapter(self.learner().model(), seed, &lineage);
        let digest = name(Some(digest_of(&bytes)));
        // Not part of the store: so that it can be tried again, and whole when it is there.
        let made = self.made();
        fs::create_dir_all(&made).expect("the disk works");
        fs::write(made.join("new"), &bytes).expect("the disk works");
        fs::rename(made.join("new"), made.join(&digest)).expect("the disk works");
        act(format_args!("stage {digest} {}", self.width), || self.learner().stage(&bytes), nothing)
            .map(drop)
    }

    /// Adapters of this process for this base model.
    fn made(&self) -> PathBuf {
        self.store.join(format!("made-{}-{}", self.moves, self.width))
    }

    /// Stages something that was staged before, and may have been taken back since.
    fn stage_again(&mut self) -> Option<()> {
        let Ok(made) = fs::read_dir(self.made()) else { return Some(()) };
        let names = made.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name != "new").collect();
        if names.is_empty() {
            return Some(());
        }
        names.sort();
        let digest = &names[self.random.below(names.len())];
        let bytes = fs::read(self.made().join(digest)).expect("the disk works");
        let stage = || match self.learner().stage(&bytes) {
            Err(LearnerError::Store(StoreError::Refused { .. })) => Ok("refused"),
            staged => staged.map(|_| "staged"),
        };
        act(format_args!("again {digest} {}", self.width), stage, |what| (*what).to_owned())?;
        Some(())
    }

    fn activate(&mut self) -> Option<()> {
        let known = self.learner().adapters();
        let in_state = |state| known.iter().rfind(|known| known.state == state);
        let (Some(staged), None) = (in_state(State::Staged), in_state(State::Probation)) else {
            return Some(());
        };
        act(
            format_args!("activate {}", name(Some(staged.digest))),
            || self.learner().activate(&staged.digest),
            nothing,
        )
    }

    fn roll_back(&mut self) -> Option<()> {
        let known = self.learner().adapters();
        if !known.iter().any(|known| matches!(known.state, State::Active | State::Probation)) {
            return Some(());
        }
        act("rollback", || self.learner().rollback(), |taken| name(Some(*taken))).map(drop)
    }

    /// The maker of the app has heard that one is bad: any that is there.
    fn refuse(&mut self) -> Option<()> {
        let mut known = self.learner().adapters();
        let live = [State::Staged, State::Probation, State::Active, State::Fallback];
        known.retain(|known| live.contains(&known.state));
        let Some(bad) = known.get(self.random.below(known.len().max(1))) else {
            return Some(());
        };
        act(
            format_args!("refuse {}", name(Some(bad.digest))),
            || self.learner().refuse(&bad.digest),
            nothing,
        )
    }

    fn train(&mut self) -> Option<()> {
        let budget = Budget { time: Duration::from_secs(60), steps: Some(1) };
        let slice = || self.learner().train_slice(budget, &Stop::new());
        act("slice", slice, |report| u8::from(report.tokens > 0).to_string()).map(drop)
    }

    fn forget(&mut self) -> Option<()> {
        let turns = self.learner().turns();
        let Some(turn) = turns.get(self.random.below(turns.len().max(1))) else {
            return Some(());
        };
        let (id, session) = (turn.reply_id, turn.session);
        let (scope, what) = match self.random.below(8) {
            0 => (Scope::Everything, "everything"),
            1..4 => (Scope::Conversation(session), "conversation"),
            _ => (Scope::Reply(id), "reply"),
        };
        act(
            format_args!("forget {what} {}", short(session)),
            || self.learner().forget(&scope),
            |receipt| {
                let gone = ids(receipt.replies.iter().copied());
                let revoked: Vec<_> = receipt.adapters.iter().map(|a| name(Some(*a))).collect();
                format!("{} /{gone}", revoked.join(" "))
            },
        )
        .map(drop)
    }
}

fn signal(
    id: u128,
    session: u128,
    text: String,
    signal: impl FnOnce(u128, Signal) -> Result<(), LearnerError>,
) -> Option<()> {
    let what = format!("signal {} {} {text}", short(id), short(session));
    let made = || match signal(id, Signal::Edited { text }) {
        Err(LearnerError::UnknownReply { .. }) => Ok("unknown"),
        made => made.map(|()| "known"),
    };
    act(what, made, |known| (*known).to_owned()).map(drop)
}

/// A process without a model.
pub struct Keyboard {
    config: Config,
    random: SplitMix64,
    capture: Option<Capture>,
    /// Replies shown here, with their conversations.
    shown: Vec<(u128, u128)>,
}

impl Keyboard {
    pub fn new(store: &Path, seed: u64) -> Keyboard {
        let mut random = SplitMix64(seed);
        let config = config(store, &mut random);
        Keyboard { config, random, capture: None, shown: Vec::new() }
    }

    /// Works until it is killed.
    pub fn work(&mut self) -> ! {
        loop {
            while self.capture.is_none() {
                let open = || Learner::open_capture(&self.config);
                self.capture = act("open -", open, nothing);
            }
            if self.step().is_none() {
                self.capture = None;
            }
            // Nobody types faster, and the others want the processor, too.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn capture(&self) -> &Capture {
        self.capture.as_ref().expect("it is open")
    }

    fn step(&mut self) -> Option<()> {
        match self.random.below(100) {
            0..60 => self.reply(),
            60..85 if !self.shown.is_empty() => {
                let (id, session) = self.shown[self.random.below(self.shown.len())];
                let text = word(&mut self.random);
                signal(id, session, text, |id, made| self.capture().signal(id, made))
            }
            85..93 => {
                act("hear", || self.capture().consent(), |word| format!("{word:?}")).map(drop)
            }
            93..98 => act("flush", || self.capture().flush(), nothing),
            98.. => None,
            _ => Some(()),
        }
    }

    fn reply(&mut self) -> Option<()> {
        // It goes on with its newest conversation, or begins one.
        let newest = self.shown.last().map(|(_, session)| *session);
        let session = newest.filter(|_| self.random.below(3) == 0);
        let session = session.unwrap_or_else(|| u128::from(self.random.bits()));
        let token = word(&mut self.random);
        let shown = Shown {
            surface: "keyboard".into(),
            conversation: session,
            instructions: None,
            turns: vec![Message::new(Role::User, format!("{REQUEST}{token}"))],
            reply: "Sure.".into(),
            adapter: None,
        };
        let kept = act(
            format_args!("reply {token} -"),
            || self.capture().reply(shown),
            |kept| {
                let id = short(kept.unwrap_or_default());
                format!("{id} {} {} base", short(session), kept.is_some())
            },
        )?;
        self.shown.extend(kept.map(|id| (id, session)));
        Some(())
    }
}

/// Opens the store when nobody else has it, and tells all that is there.
pub fn look(store: &Path) {
    let config = config(store, &mut SplitMix64(0));
    let learner = Learner::open(tiny::model(tiny::WIDTH), config).expect("nobody is in the way");
    for turn in learner.turns() {
        let token = turn.request().trim_start_matches(REQUEST);
        let edits = turn.signals.iter().filter_map(|signal| match signal {
            Signal::Edited { text } => Some(text.as_str()),
            _ => None,
        });
        let edits: Vec<&str> = edits.collect();
        let (id, session) = (short(turn.reply_id), short(turn.session));
        println!("@turn {id} {session} {token} {}", edits.join(" "));
    }
    for known in learner.adapters() {
        println!("@adapter {} {:?}", name(Some(known.digest)), known.state);
    }
    println!("@consent {:?}", learner.consent());
    println!("@force {}", name(learner.adapter_in_force()));
}
