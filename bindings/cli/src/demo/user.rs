//! The simulated user: brings work, knows what they want, and reacts as people do.
//!
//! What they want shows only in what they do: they accept what is right; what is wrong they edit,
//! send back, stop, rate down or leave. Half of the time they do nothing at all.

use std::collections::BTreeMap;
use std::time::Instant;

use sapwood::rng::Rng;
use sapwood::signal::{Part, Rating, Signal};
use sapwood::{Chat, Reply};

use super::grammar::{Item, Split, User};
use super::measure::{history, unchanged_tasks};
use super::stage::{Stage, options};
use crate::output::Failure;

/// Days of work before the first training.
pub const DAYS: u64 = 12;
/// Conversations a day.
const PER_DAY: u64 = 90;
/// The first days are as the base model expects; then the user's own matters appear.
const DRIFT_DAY: u64 = 1;

pub struct SimulatedUser {
    pub grammar: User,
    rng: Rng,
    unchanged: Vec<String>,
    day: u64,
    signals: BTreeMap<&'static str, usize>,
    replies: usize,
    /// When the first reply was wrong.
    pub first_failure: Option<Instant>,
}

impl SimulatedUser {
    pub fn new(seed: u64) -> SimulatedUser {
        let grammar = User::draw(seed);
        let mut rng = Rng::at(seed, &[0x05e4]);
        let unchanged = unchanged_tasks(&grammar, &mut rng);
        SimulatedUser {
            grammar,
            rng,
            unchanged,
            day: 0,
            signals: BTreeMap::new(),
            replies: 0,
            first_failure: None,
        }
    }

    pub fn introduce(&self) {
        let grammar = &self.grammar;
        eprintln!(
            "The model sorts messages into: {}.",
            grammar.known_categories("triage").join(", ")
        );
        eprintln!("{} needs: {}.", grammar.name, grammar.new_categories().join(", "));
        for kind in grammar.preferences() {
            let values = grammar.preference(kind).into_iter().flat_map(|p| p.values());
            let wanted: Vec<String> = values.take(2).map(|value| format!("{value:?}")).collect();
            eprintln!("   {kind}: {}", wanted.join(", "));
        }
    }

    pub fn summary(&self) -> String {
        let signals: Vec<String> =
            self.signals.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("{} replies in {} days: {}", self.replies, self.day, signals.join(", "))
    }

    /// A request with a longish reply.
    pub fn long_request(&self) -> String {
        self.grammar.known_item("reply", Split::Train, &mut Rng::new(3)).prompt
    }

    /// Works for some days.
    pub fn work(&mut self, stage: &Stage, days: u64) -> Result<(), Failure> {
        let bar = stage.bar(days * PER_DAY, "working");
        for _ in 0..days {
            for _ in 0..PER_DAY {
                let item = self.item();
                self.converse(stage, &item)?;
                stage.wait(20);
                bar.inc(1);
            }
            self.day += 1;
            stage.wait(12 * 60);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn item(&mut self) -> Item {
        let kinds = self.grammar.preferences();
        let draw = if self.day < DRIFT_DAY { 0.0 } else { self.rng.uniform() };
        if draw < 0.45 {
            let task = self.unchanged[self.rng.below(self.unchanged.len())].clone();
            self.grammar.known_item(&task, Split::Train, &mut self.rng)
        } else if draw < 0.8 {
            self.grammar.new_item(Split::Train, &mut self.rng)
        } else {
            self.grammar.preferred_item(&kinds, Split::Train, &mut self.rng)
        }
    }

    fn converse(&mut self, stage: &Stage, item: &Item) -> Result<(), Failure> {
        let chat = stage.learner().chat(&item.task, None, history(item))?;
        let reply = chat.respond(&item.prompt, options(true))?.finish()?;
        self.replies += 1;
        if reply.text.trim() == item.answer {
            return self.pleased(stage, &reply);
        }
        self.first_failure.get_or_insert_with(Instant::now);
        self.displeased(stage, &chat, &reply, item)
    }

    fn pleased(&mut self, stage: &Stage, reply: &Reply) -> Result<(), Failure> {
        let draw = self.rng.uniform();
        if draw < 0.45 {
            self.signal(stage, reply, "accepted", Signal::Accepted)
        } else if draw < 0.6 {
            self.signal(stage, reply, "copied", Signal::Copied { part: Part::Whole })
        } else if draw < 0.7 {
            self.signal(stage, reply, "rated up", Signal::Rated { rating: Rating::Up })
        } else {
            Ok(())
        }
    }

    fn displeased(
        &mut self,
        stage: &Stage,
        chat: &Chat,
        reply: &Reply,
        item: &Item,
    ) -> Result<(), Failure> {
        let edit = Signal::Edited { text: item.answer.clone() };
        let draw = self.rng.uniform();
        if draw < 0.6 {
            self.signal(stage, reply, "edited", edit)
        } else if draw < 0.7 {
            let again = chat.regenerate(options(true))?.finish()?;
            self.replies += 1;
            *self.signals.entry("regenerated").or_default() += 1;
            self.signal(stage, &again, "edited", edit)
        } else if draw < 0.8 {
            self.signal(stage, reply, "rated down", Signal::Rated { rating: Rating::Down })
        } else if draw < 0.87 {
            let shown_tokens = (reply.tokens / 2) as u32;
            self.signal(stage, reply, "stopped", Signal::Stopped { shown_tokens })
        } else if draw < 0.92 {
            self.signal(stage, reply, "abandoned", Signal::Abandoned)
        } else {
            Ok(())
        }
    }

    fn signal(
        &mut self,
        stage: &Stage,
        reply: &Reply,
        name: &'static str,
        signal: Signal,
    ) -> Result<(), Failure> {
        *self.signals.entry(name).or_default() += 1;
        Ok(stage.learner().signal(reply.id, signal)?)
    }
}
