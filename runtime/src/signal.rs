//! What a user does with a reply: the only teacher the learner has.
//!
//! A signal refers to a reply by its id; the prompt and the reply themselves are already in the
//! journal. Variants are recorded as they happened. What each one is worth as evidence is decided
//! later by pure functions over the journal, so a better rule can be applied to old signals.
//!
//! These are plain data (integers, strings), archived with `rkyv` in journal records. Adding a
//! variant at the end is compatible; changing one needs a new schema id in the journal.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::{Archive, Deserialize, Serialize};

/// How much of a reply the user copied.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The whole reply, as it stands.
    Whole,
    /// Some of it.
    Part,
}

/// A thumb.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rating {
    /// Good.
    Up,
    /// Bad.
    Down,
}

/// One reaction of the user to one reply.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The user changed the reply before using it; `text` is what they made of it.
    Edited {
        /// The text after the edit, whole.
        text: String,
    },
    /// The user used the reply as it stands.
    Accepted,
    /// The user copied the reply or some of it.
    Copied {
        /// How much of it.
        part: Part,
    },
    /// The user rated the reply.
    Rated {
        /// Up or down.
        rating: Rating,
    },
    /// The user asked for another reply to the same prompt.
    Regenerated {
        /// Id of the reply that took this one's place.
        new_reply: u128,
    },
    /// The user stopped the generation.
    Stopped {
        /// Tokens that had been shown by then.
        shown_tokens: u32,
    },
    /// The user asked the same thing again in other words.
    Rephrased {
        /// Id of the reply to the rephrased prompt.
        new_reply: u128,
    },
    /// The user left without using the reply.
    Abandoned,
}

impl Signal {
    /// Its kind in one word, without any text of the user.
    pub fn name(&self) -> &'static str {
        match self {
            Signal::Edited { .. } => "edited",
            Signal::Accepted => "accepted",
            Signal::Copied { .. } => "copied",
            Signal::Rated { rating: Rating::Up } => "rated-up",
            Signal::Rated { rating: Rating::Down } => "rated-down",
            Signal::Regenerated { .. } => "regenerated",
            Signal::Stopped { .. } => "stopped",
            Signal::Rephrased { .. } => "rephrased",
            Signal::Abandoned => "abandoned",
        }
    }
}
