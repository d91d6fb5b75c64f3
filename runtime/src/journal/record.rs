//! What the journal holds: plain data, archived with rkyv, each kind with an explicit schema id.
//!
//! Only integers, floats, strings, `Vec` and `Option`: rkyv's checked access was unsound for maps
//! and shared pointers before 0.8.17, and a plain schema is one that other versions can read.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use std::borrow::Cow;
use std::collections::HashSet;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use sapwood_models::Role;
use zeroize::Zeroizing;

use super::schema1;
use crate::secret::redact_after;
use crate::signal::Signal;

/// One message of a prompt.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks, in the words of the chat template: `user`, `assistant`, `tool`.
    pub role: String,
    /// What they say.
    pub text: String,
}

impl Turn {
    /// A message of a prompt.
    pub fn new(role: Role, text: &str) -> Turn {
        Turn { role: role.as_str().to_owned(), text: text.to_owned() }
    }
}

/// Why a reply ended.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it.
    #[default]
    End,
    /// The token limit.
    Length,
    /// The user or the app cancelled it.
    Cancelled,
    /// A stop text of the app.
    StopText,
}

/// One reply, with everything needed to score it and to learn from it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Interaction {
    /// Id of the reply, random, unique.
    pub reply_id: u128,
    /// Its place among all that happened: higher than that of everything that its process had heard
    /// of, whatever the clock said. Times that nobody set back are such an order, and these are
    /// times wherever they can be.
    pub order: u64,
    /// Conversation that it belongs to. Data is split for evaluation by a hash of this.
    pub session: u128,
    /// Part of the app where it happened, as the app names it.
    pub surface: String,
    /// When, by the host's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The reply that this one's prompt goes on from: it begins with that one's prompt, system
    /// message included, and its reply. `None`: nothing comes before `turns`.
    pub follows: Option<u128>,
    /// System message; kept with the first reply of a conversation.
    pub system: Option<String>,
    /// What is new in the prompt, oldest turn first, without the system message.
    pub turns: Vec<Turn>,
    /// The reply.
    pub reply: String,
    /// Content digest of the adapter that made it; `None` for the base model.
    pub adapter_digest: Option<[u8; 32]>,
    /// Seed of the sampler.
    pub seed: u64,
    /// Past exchanges that retrieval put in front of the request.
    pub shots: u32,
    /// Tokens generated.
    pub tokens: u32,
    /// Why it ended.
    pub stop: StopReason,
    /// Mean negative log-likelihood of the reply's tokens in nats, where it was computed.
    pub mean_nll: Option<f32>,
}

/// What the user did with a reply.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The reply.
    pub reply_id: u128,
    /// Its place among all that happened, as [`Interaction::order`].
    pub order: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What.
    pub signal: Signal,
}

/// The user wants these replies forgotten. Readers no longer return them or their feedback.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The replies.
    pub reply_ids: Vec<u128>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// The user allowed or stopped journalling.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consent {
    /// Whether it is allowed from now on.
    pub granted: bool,
    /// When, in milliseconds since 1970; after all that its process had heard ([`Consent::said`]).
    pub time_ms: u64,
}

impl Consent {
    /// What is said now, by whom has heard `last`: dated after it, whatever the clock says. So the
    /// times of these records are the order in which they were said, over all processes, segments
    /// and clocks.
    pub fn said(granted: bool, last: Option<Consent>, now_ms: u64) -> Consent {
        let after_ms = last.map_or(0, |last| last.time_ms.saturating_add(1));
        Consent { granted, time_ms: now_ms.max(after_ms) }
    }

    /// Whether it counts instead of `other`. Of two that were said at one time, by processes that
    /// had not heard each other, the refusal counts.
    pub fn counts_after(&self, other: Option<Consent>) -> bool {
        let order = |consent: Consent| (consent.time_ms, !consent.granted);
        other.is_none_or(|other| order(*self) > order(other))
    }
}

/// These replies went into the training of an adapter: its lineage.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct UsedByGeneration {
    /// Content digest of the adapter.
    pub digest: [u8; 32],
    /// The replies.
    pub reply_ids: Vec<u128>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A reply.
    Interaction(Interaction),
    /// A reaction to one.
    Feedback(Feedback),
    /// A wish to forget. Durable when `append` returns.
    Tombstone(Tombstone),
    /// A change of consent. Durable when `append` returns.
    Consent(Consent),
    /// The lineage of an adapter.
    UsedByGeneration(UsedByGeneration),
}

impl Record {
    /// Schema of its archive, as this version writes it.
    pub(super) fn schema(&self) -> u16 {
        match self {
            Record::Interaction(_) | Record::Feedback(_) => 2,
            Record::Tombstone(_) | Record::Consent(_) | Record::UsedByGeneration(_) => 1,
        }
    }

    /// Its place among all that happened, where that matters; 0 elsewhere.
    pub(crate) fn order(&self) -> u64 {
        match self {
            Record::Interaction(made) => made.order,
            Record::Feedback(made) => made.order,
            Record::Tombstone(_) | Record::Consent(_) | Record::UsedByGeneration(_) => 0,
        }
    }

    /// The same at another place.
    #[must_use]
    pub(crate) fn placed(mut self, place: u64) -> Record {
        match &mut self {
            Record::Interaction(made) => made.order = place,
            Record::Feedback(made) => made.order = place,
            Record::Tombstone(_) | Record::Consent(_) | Record::UsedByGeneration(_) => {}
        }
        self
    }

    /// The kind byte of its frames.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Record::Interaction(_) => 1,
            Record::Feedback(_) => 2,
            Record::Tombstone(_) => 3,
            Record::Consent(_) => 4,
            Record::UsedByGeneration(_) => 5,
        }
    }

    /// Whether it belongs to one of these replies.
    pub(super) fn is_gone(&self, replies: &HashSet<u128>) -> bool {
        match self {
            Record::Interaction(interaction) => replies.contains(&interaction.reply_id),
            Record::Feedback(feedback) => replies.contains(&feedback.reply_id),
            Record::Tombstone(_) | Record::Consent(_) | Record::UsedByGeneration(_) => false,
        }
    }

    /// Without the secrets in its texts, each seen behind the text before it. `asked` tells what a
    /// reply answers, `answered` what it says.
    pub(crate) fn without_secrets<'a>(
        mut self,
        asked: impl FnOnce(u128) -> &'a str,
        answered: impl FnOnce(u128) -> &'a str,
    ) -> Record {
        let clean = |before: &str, text: &mut String| {
            if let Cow::Owned(clean) = redact_after(before, text) {
                *text = clean;
            }
        };
        match &mut self {
            Record::Interaction(said) => {
                said.system.iter_mut().for_each(|text| clean("", text));
                let mut before = said.follows.map_or("", answered);
                let turns = said.turns.iter_mut().map(|turn| &mut turn.text);
                for text in turns.chain([&mut said.reply]) {
                    clean(before, text);
                    before = text;
                }
            }
            Record::Feedback(Feedback { reply_id, signal: Signal::Edited { text }, .. }) => {
                clean(asked(*reply_id), text);
            }
            _ => {}
        }
        self
    }

    /// When it happened, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        match self {
            Record::Interaction(record) => record.time_ms,
            Record::Feedback(record) => record.time_ms,
            Record::Tombstone(record) => record.time_ms,
            Record::Consent(record) => record.time_ms,
            Record::UsedByGeneration(record) => record.time_ms,
        }
    }

    /// Whether `append` makes it durable before it returns.
    pub(super) fn must_be_durable(&self) -> bool {
        matches!(self, Record::Tombstone(_) | Record::Consent(_))
    }

    /// The archive of its payload.
    pub(super) fn archive(&self) -> Zeroizing<Vec<u8>> {
        let archive = match self {
            Record::Interaction(record) => rkyv::to_bytes::<rancor::Error>(record),
            Record::Feedback(record) => rkyv::to_bytes(record),
            Record::Tombstone(record) => rkyv::to_bytes(record),
            Record::Consent(record) => rkyv::to_bytes(record),
            Record::UsedByGeneration(record) => rkyv::to_bytes(record),
        };
        // Plain data into memory: the only failure is an allocation's, which aborts.
        Zeroizing::new(archive.expect("plain data always archives").into_vec())
    }

    /// The record of an archive; `None` if kind or schema are of another version, or the bytes
    /// are not such an archive.
    pub(super) fn from_archive(kind: u8, schema: u16, bytes: &[u8]) -> Option<Record> {
        let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        type Checked<T> = Result<T, rancor::Error>;
        match (kind, schema) {
            (1 | 2, 1) => schema1::read(kind, &aligned),
            (1, 2) => (rkyv::from_bytes(&aligned) as Checked<_>).map(Record::Interaction).ok(),
            (2, 2) => (rkyv::from_bytes(&aligned) as Checked<_>).map(Record::Feedback).ok(),
            (3, 1) => (rkyv::from_bytes(&aligned) as Checked<_>).map(Record::Tombstone).ok(),
            (4, 1) => (rkyv::from_bytes(&aligned) as Checked<_>).map(Record::Consent).ok(),
            (5, 1) => (rkyv::from_bytes(&aligned) as Checked<_>).map(Record::UsedByGeneration).ok(),
            _ => None,
        }
    }
}
