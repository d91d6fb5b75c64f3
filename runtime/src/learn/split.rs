//! What may be trained on, and what only the gate may see.
//!
//! The split is by conversation and comes before anything else: H(session ‖ salt) decides, so a
//! turn can never be on both sides, and no later rule can move it. What is nearly the same as
//! something the gate evaluates on is then dropped from training.

use super::{example::Example, text};
use ring::digest::{SHA256, digest};
use std::collections::{HashMap, HashSet};

/// Which side a conversation is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Trains.
    Train,
    /// The gate's held-out items.
    Holdout,
    /// Replayed in shadow before a candidate is used.
    Shadow,
}

/// How conversations are divided, in percent; the rest is shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Percent that trains.
    pub train: u8,
    /// Percent that is held out.
    pub holdout: u8,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares { train: 70, holdout: 15 }
    }
}

/// The side of one conversation: SHA-256(session, little-endian ‖ salt) mod 100 against the shares.
///
/// `promotions` counts the promotions since the conversation. After each one a quarter of what was
/// held out retires into training, so that the holdout does not wear out by being looked at often.
/// The other direction does not exist: what has trained never becomes holdout.
pub fn side(session: u128, salt: &[u8], shares: Shares, promotions: u32) -> Side {
    let mut message = session.to_le_bytes().to_vec();
    message.extend_from_slice(salt);
    let hash = digest(&SHA256, &message);
    let word = |at: usize| -> u64 {
        hash.as_ref()[at..at + 8].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
    };
    let percent = word(0) % 100;
    if percent < u64::from(shares.train) {
        Side::Train
    } else if percent < u64::from(shares.train) + u64::from(shares.holdout) {
        // The second word decides after which promotion it retires: 1, 2, 3 or 4.
        if u64::from(promotions) > word(8) % 4 { Side::Train } else { Side::Holdout }
    } else {
        Side::Shadow
    }
}

/// Examples on their sides, each in the order given.
#[derive(Debug, Clone, PartialEq)]
pub struct Divided {
    /// Trains.
    pub train: Vec<Example>,
    /// The gate's.
    pub holdout: Vec<Example>,
    /// The shadow replay's.
    pub shadow: Vec<Example>,
    /// Left out of training: too much like something that is evaluated.
    pub dropped: Vec<Example>,
}

/// Word n-grams of this length count as overlap.
const GRAM: usize = 13;
/// An n-gram in this many evaluated items or more is their common wording, not their content.
const COMMON: usize = 3;

/// Divides examples by [`side`], then drops from training what is nearly the same as an evaluated
/// example: equal words, or a shared 13-gram that is not common wording.
///
/// `promotions_since` tells for a place in the journal's order how many promotions came after it.
/// System messages are not compared: every prompt of a surface shares them.
pub fn divide(
    examples: Vec<Example>,
    salt: &[u8],
    shares: Shares,
    promotions_since: impl Fn(u64) -> u32,
) -> Divided {
    let mut out = Divided { train: vec![], holdout: vec![], shadow: vec![], dropped: vec![] };
    // One conversation, one side: its latest turn decides how many promotions it has seen.
    let mut latest: HashMap<u128, u64> = HashMap::new();
    for e in &examples {
        let t = latest.entry(e.session).or_default();
        *t = (*t).max(e.order);
    }
    for e in examples {
        match side(e.session, salt, shares, promotions_since(latest[&e.session])) {
            Side::Train => out.train.push(e),
            Side::Holdout => out.holdout.push(e),
            Side::Shadow => out.shadow.push(e),
        }
    }
    let evaluated: Vec<&Example> = out.holdout.iter().chain(&out.shadow).collect();
    let index = Overlap::of(&evaluated);
    let (train, dropped) =
        std::mem::take(&mut out.train).into_iter().partition(|example| !index.hits(example));
    Divided { train, dropped, ..out }
}

/// What evaluated examples consist of, to be looked up.
struct Overlap {
    whole: HashSet<String>,
    grams: HashSet<Vec<String>>,
}

/// Request and target as words; the target apart, so that no gram spans both.
fn parts(e: &Example) -> [Vec<String>; 2] {
    [text::words(e.request()), text::words(&e.target)]
}

impl Overlap {
    fn of(evaluated: &[&Example]) -> Overlap {
        let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
        for e in evaluated {
            let grams: HashSet<Vec<String>> =
                parts(e).iter().flat_map(|p| p.windows(GRAM).map(<[String]>::to_vec)).collect();
            for gram in grams {
                *counts.entry(gram).or_insert(0) += 1;
            }
        }
        Overlap {
            whole: evaluated.iter().map(|e| text::normalised(e.request())).collect(),
            grams: counts.into_iter().filter(|(_, n)| *n < COMMON).map(|(g, _)| g).collect(),
        }
    }

    fn hits(&self, e: &Example) -> bool {
        self.whole.contains(&text::normalised(e.request()))
            || parts(e).iter().any(|p| p.windows(GRAM).any(|gram| self.grams.contains(gram)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::Why;
    use super::*;
    use proptest::prelude::*;
    use sapwood_models::{Message, Role};

    fn example(session: u128, request: &str, target: &str) -> Example {
        Example {
            prompt: [Message::new(Role::User, request)].into_iter().collect(),
            target: target.into(),
            weight: 1.0,
            taught: false,
            why: Why::Accepted,
            lineage: vec![session],
            category: "c".into(),
            surface: "s".into(),
            session,
            order: session as u64,
            time_ms: session as u64,
        }
    }

    #[test]
    fn shares_are_met_and_the_salt_matters() {
        let n = 20_000u128;
        let count = |salt: &[u8], want| {
            (0..n).filter(|&s| side(s, salt, Shares::default(), 0) == want).count() as f64
        };
        for (want, p) in [(Side::Train, 0.7), (Side::Holdout, 0.15), (Side::Shadow, 0.15)] {
            let sd = (p * (1.0 - p) * n as f64).sqrt();
            assert!((count(b"a", want) - p * n as f64).abs() < 4.5 * sd);
        }
        let moved = (0..n).filter(|&s| {
            side(s, b"a", Shares::default(), 0) != side(s, b"b", Shares::default(), 0)
        });
        assert!(moved.count() > 8000);
    }

    #[test]
    fn a_quarter_retires_per_promotion_and_nothing_comes_back() {
        let s = Shares::default();
        let held: Vec<u128> =
            (0..20_000).filter(|&i| side(i, b"x", s, 0) == Side::Holdout).collect();
        for promotions in 1..=4 {
            let left =
                held.iter().filter(|&&i| side(i, b"x", s, promotions) == Side::Holdout).count();
            let share = left as f64 / held.len() as f64;
            assert!((share - (1.0 - 0.25 * f64::from(promotions))).abs() < 0.04, "{share}");
        }
        for i in 0..5000 {
            let seen: Vec<Side> = (0..6).map(|p| side(i, b"x", s, p)).collect();
            let first = seen.iter().position(|&x| x == Side::Train).unwrap_or(6);
            assert!(seen[first..].iter().all(|&x| x == Side::Train));
        }
    }

    #[test]
    fn overlap_is_dropped_and_common_wording_is_not() {
        let id = |want| (0..).find(|&i| side(i, b"z", Shares::default(), 0) == want).unwrap();
        let (t, h) = (id(Side::Train), id(Side::Holdout));
        let letter = "the quick brown fox jumps over the lazy dog and then sleeps all day long";
        let examples = vec![
            example(h, "Summarise this letter", letter),
            example(h, "What is due on Friday?", "rent"),
            example(t, "Reword", &format!("Well, {letter}.")),
            example(t, "what is due on friday", "rent and tax"),
            example(t, "What is due on Monday?", "rent"),
        ];
        let got = divide(examples, b"z", Shares::default(), |_| 0);
        assert_eq!(got.dropped.len(), 2);
        assert_eq!(got.train.len(), 1);
        assert_eq!(got.train[0].request(), "What is due on Monday?");
        // An instruction that every item opens with says nothing about any of them.
        let opening =
            "please sort the following message of a customer into one of the classes below";
        let mut examples: Vec<Example> =
            (0..3).map(|i| example(h, &format!("{opening} m{i}"), "x")).collect();
        examples.push(example(t, &format!("{opening} m9"), "x"));
        assert_eq!(divide(examples, b"z", Shares::default(), |_| 0).train.len(), 1);
    }

    proptest! {
        /// Invariant 7: what the gate evaluates on never enters training.
        #[test]
        fn nothing_evaluated_is_trained_on(
            items in prop::collection::vec((0u128..40, 0u8..30, 0u8..4), 1..80),
            salt in any::<[u8; 8]>(),
            promotions in 0u32..5,
        ) {
            let examples: Vec<Example> = items
                .iter()
                .map(|(s, r, t)| example(*s, &format!("request {r}"), &format!("target {t}")))
                .collect();
            let total = examples.len();
            let got = divide(examples, &salt, Shares::default(), |_| promotions);
            let evaluated: Vec<&Example> = got.holdout.iter().chain(&got.shadow).collect();
            for t in &got.train {
                prop_assert!(evaluated.iter().all(|e| e.session != t.session));
                prop_assert!(evaluated.iter().all(|e| e.request() != t.request()));
                prop_assert!(evaluated.iter().all(|e| e.lineage != t.lineage));
            }
            let sum =
                got.train.len() + got.holdout.len() + got.shadow.len() + got.dropped.len();
            prop_assert_eq!(sum, total);
        }
    }
}
