//! The exam: held-out phrasings, generated text compared to the letter.

use std::collections::BTreeMap;

use sapwood::rng::Rng;
use sapwood_models::{Message, Role};

use super::grammar::{Item, Split, User};
use super::stage::{Stage, options};
use crate::output::Failure;

/// Items of the user's own categories.
const NEW: usize = 60;
/// Items of what the base model knows and the user has not changed.
const OLD: usize = 120;
/// Items that the user wants otherwise than the base model was taught.
const PREFERRED: usize = 40;

/// Items right and items in all.
#[derive(Clone, Copy, Default)]
pub struct Share {
    right: usize,
    items: usize,
}

impl Share {
    fn count(&mut self, right: bool) {
        self.items += 1;
        self.right += usize::from(right);
    }

    pub fn rate(self) -> f64 {
        self.right as f64 / self.items.max(1) as f64
    }
}

/// What the model got right.
#[derive(Clone, Default)]
pub struct Score {
    pub new_categories: Share,
    pub old_categories: Share,
    pub preferences: Share,
    /// The old items again, by task.
    pub old_tasks: BTreeMap<String, Share>,
}

impl Score {
    pub fn overall(&self) -> f64 {
        let parts = [self.new_categories, self.old_categories, self.preferences];
        let sum = |count: fn(&Share) -> usize| parts.iter().map(count).sum();
        Share { right: sum(|s| s.right), items: sum(|s| s.items) }.rate()
    }
}

/// Always the same items for the same user.
pub struct Exam {
    new: Vec<Item>,
    old: Vec<Item>,
    preferred: Vec<Item>,
}

impl Exam {
    pub fn new(user: &User, seed: u64) -> Exam {
        let mut rng = Rng::at(seed, &[0xe8a3]);
        let tasks = unchanged_tasks(user, &mut rng);
        let kinds = user.preferences();
        let old =
            |i: usize, rng: &mut Rng| user.known_item(&tasks[i % tasks.len()], Split::Heldout, rng);
        Exam {
            new: (0..NEW).map(|_| user.new_item(Split::Heldout, &mut rng)).collect(),
            old: (0..OLD).map(|i| old(i, &mut rng)).collect(),
            preferred: (0..PREFERRED)
                .map(|_| user.preferred_item(&kinds, Split::Heldout, &mut rng))
                .collect(),
        }
    }

    /// Asks every item once, on the record of nobody, and says how it went.
    pub fn take(&self, stage: &Stage) -> Result<Score, Failure> {
        let bar = stage.bar((NEW + OLD + PREFERRED) as u64, "exam");
        let mut old_tasks = BTreeMap::<String, Share>::new();
        let mut part = |items: &[Item], by_task: bool| -> Result<Share, Failure> {
            let mut share = Share::default();
            for item in items {
                let right = answer(stage, item)? == item.answer;
                share.count(right);
                if by_task {
                    old_tasks.entry(item.task.clone()).or_default().count(right);
                }
                bar.inc(1);
            }
            Ok(share)
        };
        let (new_categories, old_categories) = (part(&self.new, false)?, part(&self.old, true)?);
        let preferences = part(&self.preferred, false)?;
        let score = Score { new_categories, old_categories, preferences, old_tasks };
        bar.finish_and_clear();
        let tasks: Vec<String> =
            score.old_tasks.iter().map(|(task, s)| format!("{task} {:.2}", s.rate())).collect();
        stage.say(&format!(
            "right to the letter: overall {:.3}   new categories {:.3}   old ones {:.3}   preferences {:.3}\nold ones by task: {}",
            score.overall(),
            score.new_categories.rate(),
            score.old_categories.rate(),
            score.preferences.rate(),
            tasks.join(", ")
        ));
        Ok(score)
    }
}

/// The tasks in which none of the user's preferences changes what is right.
pub fn unchanged_tasks(user: &User, rng: &mut Rng) -> Vec<String> {
    let kinds = user.preferences();
    let changed: Vec<String> =
        (0..200).map(|_| user.preferred_item(&kinds, Split::Train, rng).task).collect();
    let all = ["triage", "extract", "note", "reply", "rewrite", "follow"];
    let mut tasks: Vec<String> =
        all.iter().filter(|t| changed.iter().all(|c| c != *t)).map(|t| (*t).to_owned()).collect();
    // Labels are what the new categories could drive out: half of the exam is about them.
    let others = tasks.len() - 1;
    tasks.extend(std::iter::repeat_n("triage".to_owned(), others.saturating_sub(1)));
    tasks
}

/// The turns before an item's request.
pub fn history(item: &Item) -> Vec<Message> {
    let turns = item.before.iter();
    turns
        .flat_map(|(asked, answered)| {
            [
                Message::new(Role::User, asked.as_str()),
                Message::new(Role::Assistant, answered.as_str()),
            ]
        })
        .collect()
}

fn answer(stage: &Stage, item: &Item) -> Result<String, Failure> {
    let chat = stage.learner().chat(&item.task, None, history(item))?;
    let reply = chat.respond(&item.prompt, options(false))?.finish()?;
    Ok(reply.text.trim().to_owned())
}
