//! Items of work with exact expected answers, from the grammars that the embedded model was made
//! with (`known.json`) and from those that it has never seen (`pool.json`).
//!
//! A template is text with slots. `{name}` draws an entry of the lexicon `name` once per item, so
//! that prompt and answer agree; `{name#2}` is a second, independent draw. An entry may hold slots
//! of its own, drawn anew for it. A brace that opens no slot is plain text. A preference of the
//! user (a sign-off, a tone, a unit, a JSON shape) is nothing but lexicons replaced by one value:
//! the prompts stay, the expected answers change. `models/assets/grammar.py` is the same expander
//! for the training script; a test holds the two together.

use std::collections::BTreeMap;

use sapwood::rng::Rng;
use serde_json::Value;

/// What the embedded model was trained on.
const KNOWN: &str = include_str!("../../../../models/assets/known.json");
/// What the demo's users may bring; absent from the model's training text.
const POOL: &str = include_str!("pool.json");
/// More phrasings of known tasks, for anchors alone.
const ANCHORS: &str = include_str!("anchors.json");

type Strings = BTreeMap<String, String>;
type Lists = BTreeMap<String, Vec<String>>;

/// Which phrasings an item is made of. What is measured uses only [`Split::Heldout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Phrasings that the model, or the user's history, may hold.
    Train,
    /// Phrasings that nothing is ever trained on.
    Heldout,
    /// Phrasings of known tasks that an app's developer would come up with: neither in the model's
    /// training text nor measured.
    Anchor,
}

/// One piece of work: turns before it, the prompt, and the one right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The surface of the app: triage, extract, note, reply, rewrite or follow.
    pub task: String,
    /// The label in a triage, the kind of content elsewhere.
    pub category: String,
    /// Earlier turns of the same conversation, as (user, assistant).
    pub before: Vec<(String, String)>,
    /// The user's turn.
    pub prompt: String,
    /// The exact text that the user wants.
    pub answer: String,
}

/// Items that share an answer and have many phrasings.
#[derive(Debug)]
struct Group {
    task: String,
    category: String,
    before: Vec<(String, String)>,
    /// Answer template per style; the style is empty where the surface has none.
    answers: Strings,
    train: Vec<String>,
    heldout: Vec<String>,
    anchors: Vec<String>,
}

impl Group {
    fn parse(value: &Value) -> Group {
        let answers = match value.get("answers") {
            Some(styles) => object(styles).map(|(k, v)| (k.clone(), string(v))).collect(),
            None => BTreeMap::from([(String::new(), string(&value["answer"]))]),
        };
        let before = value.get("before").map_or(&[][..], array);
        Group {
            task: string(&value["task"]),
            category: string(&value["category"]),
            before: before.iter().map(|t| (string(&t[0]), string(&t[1]))).collect(),
            answers,
            train: strings(&value["train"]),
            heldout: strings(&value["heldout"]),
            anchors: Vec::new(),
        }
    }

    fn with_anchors(mut self, anchors: &Value) -> Group {
        if let Some(more) = anchors[&self.task].get(&self.category) {
            self.anchors = strings(more);
        }
        self
    }

    /// Held-out phrasings are shared out between measuring and anchors, by turns.
    fn phrasings(&self, split: Split) -> Vec<&String> {
        let by_turns = |first: usize| self.heldout.iter().skip(first).step_by(2);
        match split {
            Split::Train => self.train.iter().collect(),
            Split::Heldout => by_turns(0).collect(),
            Split::Anchor => by_turns(1).chain(&self.anchors).collect(),
        }
    }

    /// The styles whose answer changes under `overrides`.
    fn touched(&self, overrides: &Strings) -> Vec<&str> {
        let changes =
            |answer: &str| overrides.keys().any(|name| answer.contains(&format!("{{{name}}}")));
        self.answers.iter().filter(|(_, a)| changes(a)).map(|(style, _)| style.as_str()).collect()
    }
}

/// A simulated user, drawn by a seed: new categories, preferences and a name.
#[derive(Debug)]
pub struct User {
    /// For the narrative only.
    pub name: String,
    forms: Strings,
    lexicons: Lists,
    known: Vec<Group>,
    new: Vec<Group>,
    preferences: BTreeMap<String, Strings>,
}

impl User {
    /// The user of this seed.
    pub fn draw(seed: u64) -> User {
        let (known, pool, anchors) = (parse(KNOWN), parse(POOL), parse(ANCHORS));
        let mut rng = Rng::new(seed);
        let mut new: Vec<Group> = array(&pool["categories"]).iter().map(Group::parse).collect();
        let keep = pool["pick"]["categories"].as_u64().map_or(0, |n| n as usize).min(new.len());
        for i in 0..keep {
            let j = i + rng.below(new.len() - i);
            new.swap(i, j);
        }
        new.truncate(keep);
        let name = pick(&strings(&pool["users"]), &mut rng).clone();
        // By name, whatever order the parser keeps objects in.
        let by_name: BTreeMap<_, _> = object(&pool["preferences"]).collect();
        let preferences = by_name
            .into_iter()
            .map(|(kind, choices)| {
                let choice = pick(array(choices), &mut rng);
                (kind.clone(), object(choice).map(|(k, v)| (k.clone(), string(v))).collect())
            })
            .collect();
        let lexicons = object(&known["lexicons"]).chain(object(&pool["lexicons"]));
        User {
            name,
            forms: object(&known["forms"]).map(|(k, v)| (k.clone(), string(v))).collect(),
            lexicons: lexicons.map(|(k, v)| (k.clone(), strings(v))).collect(),
            known: array(&known["groups"])
                .iter()
                .map(|group| Group::parse(group).with_anchors(&anchors))
                .collect(),
            new,
            preferences,
        }
    }

    /// The user's own categories, which the base model has never seen.
    pub fn new_categories(&self) -> Vec<&str> {
        self.new.iter().map(|g| g.category.as_str()).collect()
    }

    /// The categories that the base model knows, of one task.
    pub fn known_categories(&self, task: &str) -> Vec<&str> {
        let groups = self.known.iter().filter(|g| g.task == task);
        groups.map(|g| g.category.as_str()).collect()
    }

    /// The kinds of preference that this user has: json, signoff, tone, unit.
    pub fn preferences(&self) -> Vec<&str> {
        self.preferences.keys().map(String::as_str).collect()
    }

    /// What the user replaces by what, for one kind of preference (for the narrative).
    pub fn preference(&self, kind: &str) -> Option<&BTreeMap<String, String>> {
        self.preferences.get(kind)
    }

    /// A triage in one of the user's new categories.
    pub fn new_item(&self, split: Split, rng: &mut Rng) -> Item {
        let group = pick(&self.new, rng);
        let style = pick(&group.answers.keys().collect::<Vec<_>>(), rng).as_str();
        self.item(group, style, split, &Strings::new(), rng)
    }

    /// An item of one known task, with the answer that the base model was taught.
    pub fn known_item(&self, task: &str, split: Split, rng: &mut Rng) -> Item {
        let groups: Vec<&Group> = self.known.iter().filter(|g| g.task == task).collect();
        let group = *pick(&groups, rng);
        let style = pick(&group.answers.keys().collect::<Vec<_>>(), rng).as_str();
        self.item(group, style, split, &Strings::new(), rng)
    }

    /// An item of a known task with the answer that this user prefers over the taught one. `kinds`
    /// are the preferences in force; only items whose answer they change are drawn.
    pub fn preferred_item(&self, kinds: &[&str], split: Split, rng: &mut Rng) -> Item {
        let chosen = self.preferences.iter().filter(|(kind, _)| kinds.contains(&kind.as_str()));
        let overrides: Strings =
            chosen.flat_map(|(_, o)| o.iter().map(|(k, v)| (k.clone(), v.clone()))).collect();
        let open = self.known.iter().filter(|g| g.before.is_empty());
        let groups: Vec<(&Group, Vec<&str>)> = open
            .map(|g| (g, g.touched(&overrides)))
            .filter(|(_, styles)| !styles.is_empty())
            .collect();
        let (group, styles) = pick(&groups, rng);
        let style = *pick(styles, rng);
        self.item(group, style, split, &overrides, rng)
    }

    fn item(
        &self,
        group: &Group,
        style: &str,
        split: Split,
        overrides: &Strings,
        rng: &mut Rng,
    ) -> Item {
        let phrasings = group.phrasings(split);
        let form = self.forms[&group.task].replace("{style}", style);
        let prompt = form.replace("{text}", pick(&phrasings, rng).as_str());
        let mut scope = Strings::new();
        let mut expand = |template: &str| self.expand(template, &mut scope, overrides, rng);
        Item {
            task: group.task.clone(),
            category: group.category.clone(),
            before: group.before.iter().map(|(u, a)| (expand(u), expand(a))).collect(),
            prompt: expand(&prompt),
            answer: expand(&group.answers[style]),
        }
    }

    fn expand(
        &self,
        template: &str,
        scope: &mut Strings,
        overrides: &Strings,
        rng: &mut Rng,
    ) -> String {
        let mut out = String::with_capacity(template.len() * 2);
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some((slot, name)) = slot(rest) else {
                out.push('{');
                rest = &rest[1..];
                continue;
            };
            if !scope.contains_key(slot) {
                let value = match overrides.get(name) {
                    Some(value) => value.clone(),
                    None => {
                        let entry = pick(&self.lexicons[name], rng);
                        self.expand(entry, &mut Strings::new(), overrides, rng)
                    }
                };
                scope.insert(slot.to_string(), value);
            }
            out.push_str(&scope[slot]);
            rest = &rest[slot.len()..];
        }
        out + rest
    }
}

/// The slot at the start of `text` (which starts with a brace) and its lexicon's name:
/// `{[a-z][a-z.]*(#[0-9]+)?}`.
fn slot(text: &str) -> Option<(&str, &str)> {
    let inside = &text[1..text.find('}')?];
    let (name, number) = inside.split_once('#').unwrap_or((inside, "1"));
    let named = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c == '.');
    let numbered = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    (named && numbered).then(|| (&text[..inside.len() + 2], name))
}

fn pick<'a, T>(items: &'a [T], rng: &mut Rng) -> &'a T {
    &items[rng.below(items.len())]
}

// The grammars are compiled in and a test walks through them: a malformed one is a bug.

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the grammar is JSON")
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().expect("an object").iter()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_string()
}

fn strings(value: &Value) -> Vec<String> {
    array(value).iter().map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: [&str; 6] = ["extract", "follow", "note", "reply", "rewrite", "triage"];

    /// FNV-1a, 64 bits: easy to compute alike in the training script's language.
    fn fnv(hash: u64, text: &str) -> u64 {
        text.bytes().fold(hash, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    }

    /// Items of every kind, many times over.
    fn all(seed: u64) -> Vec<Item> {
        let (user, mut rng) = (User::draw(seed), Rng::new(seed + 1));
        let mut items = Vec::new();
        for _ in 0..300 {
            for split in [Split::Train, Split::Heldout] {
                items.push(user.new_item(split, &mut rng));
                items.push(user.preferred_item(&user.preferences(), split, &mut rng));
                for task in TASKS {
                    items.push(user.known_item(task, split, &mut rng));
                }
            }
        }
        items
    }

    #[test]
    fn agrees_with_the_expander_of_the_training_script() {
        // `python models/assets/grammar.py` prints these.
        let digests =
            [(1, 0x43a0_9e16_4fda_e06e), (2, 0xeecd_20bd_c675_1fe9), (3, 0xb62c_8703_ddc8_05f7)];
        for (seed, expected) in digests {
            let digest = all(seed).iter().fold(0xcbf2_9ce4_8422_2325, |hash, item| {
                let turns = item.before.iter().flat_map(|(u, a)| [u, a]);
                turns.chain([&item.prompt, &item.answer]).fold(hash, |h, text| fnv(h, text))
            });
            assert_eq!(digest, expected, "seed {seed}");
        }
    }

    #[test]
    fn leaves_no_slot_open_and_answers_json_where_json_is_asked_for() {
        for item in (1..20).flat_map(all) {
            for text in [&item.prompt, &item.answer] {
                let braces = text.match_indices('{').map(|(at, _)| &text[at..]);
                assert_eq!(braces.filter_map(slot).count(), 0, "{item:?}");
            }
            if item.task == "extract" {
                let parsed: Value = serde_json::from_str(&item.answer).expect("an answer in JSON");
                assert!(parsed.as_object().is_some_and(|o| o.len() >= 3), "{item:?}");
            }
        }
    }

    #[test]
    fn draws_other_users_from_other_seeds_and_the_same_one_again() {
        let categories =
            |seed| User::draw(seed).new_categories().iter().map(|c| c.to_string()).collect();
        let drawn: Vec<Vec<String>> = (0..50).map(categories).collect();
        let mut distinct = drawn.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 40);
        assert_eq!(all(7), all(7));
        for (seed, mut own) in drawn.into_iter().enumerate() {
            own.sort();
            own.dedup();
            assert_eq!(own.len(), 4, "seed {seed}: four different categories");
            let user = User::draw(seed as u64);
            assert!(!user.name.is_empty());
            let known = user.known_categories("triage");
            assert!(own.iter().all(|c| !known.contains(&c.as_str())));
        }
    }

    #[test]
    fn a_preference_changes_every_answer_it_draws_and_no_prompt() {
        let user = User::draw(3);
        assert_eq!(user.preferences(), ["json", "signoff", "tone", "unit"]);
        assert_eq!(user.preference("manners"), None);
        for kind in user.preferences() {
            assert!(user.preference(kind).is_some_and(|lexicons| !lexicons.is_empty()));
            for step in 0..200 {
                let (mut a, mut b) = (Rng::new(step), Rng::new(step));
                let wanted = user.preferred_item(&[kind], Split::Heldout, &mut a);
                let plain = user.plain_twin(kind, Split::Heldout, &mut b);
                assert_eq!(wanted.prompt, plain.prompt, "{kind}");
                assert_ne!(wanted.answer, plain.answer, "{kind}");
            }
        }
    }

    impl User {
        /// The item that `preferred_item` draws, with the taught answer. Every overridden lexicon
        /// has one entry, so both draw alike from there on: its draw comes last.
        fn plain_twin(&self, kind: &str, split: Split, rng: &mut Rng) -> Item {
            let overrides = &self.preferences[kind];
            let open = self.known.iter().filter(|g| g.before.is_empty());
            let groups: Vec<_> = open.filter(|g| !g.touched(overrides).is_empty()).collect();
            let group = *pick(&groups, rng);
            let style = *pick(&group.touched(overrides), rng);
            self.item(group, style, split, &Strings::new(), rng)
        }
    }

    #[test]
    fn holds_held_out_phrasings_apart() {
        let user = User::draw(1);
        for group in user.known.iter().chain(&user.new) {
            assert!(group.heldout.iter().all(|text| !group.train.contains(text)));
            let measured = group.phrasings(Split::Heldout);
            assert!(group.phrasings(Split::Anchor).iter().all(|text| !measured.contains(text)));
            assert!(group.heldout.len() >= 2 && group.train.len() >= 4);
        }
    }
}
