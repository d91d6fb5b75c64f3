//! How far learning has come on one base model: what the split, the trigger and the gate rest on.
//!
//! It is state, not a log: the events that the report shows are pruned, this is not. Each base model
//! has its own, so that another one that was opened for a while changes nothing.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::digest::Digest;

/// How often a candidate may be put into use without a healthy report.
pub const N_TRIES: u8 = 3;
/// Healthy sessions before a candidate can be confirmed.
pub const N_HEALTHY: u8 = 3;

/// Promotions remembered: after the fourth since a conversation nothing of it is held out any more
/// (`learn::split::side`), so older ones change nothing.
const KEPT_PROMOTIONS: usize = 5;

/// The course of learning on one base model.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// Fingerprint of the base model.
    pub base: [u8; 32],
    /// Where in the journal's order the newest promotions came, oldest first: what is recorded later
    /// has a higher one ([`Interaction::order`](crate::journal::Interaction::order)).
    pub promotions: Vec<u64>,
    /// Candidates that the gate has turned down since the last promotion: each has used up a part of
    /// the error rate that a holdout allows.
    pub turned_down: u32,
    /// When the last candidate was judged, in milliseconds since 1970.
    pub judged_ms: Option<u64>,
    /// Of the candidate, if there is one.
    pub probation: Probation,
}

/// How a candidate's probation stands.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq)]
pub struct Probation {
    /// Times that it may yet be put into use without a healthy report.
    pub tries_left: u8,
    /// Healthy sessions so far.
    pub healthy: u8,
    /// A session with it has begun and was not reported.
    pub trial_open: bool,
}

impl Course {
    /// The course of a base model that has learned nothing yet.
    pub(crate) fn of(base: Digest) -> Course {
        Course { base, ..Course::default() }
    }

    /// Promotions that came after a place in the journal's order.
    pub fn promotions_after(&self, order: u64) -> u32 {
        self.promotions.iter().filter(|promotion| **promotion > order).count() as u32
    }

    /// What is recorded later than this is new: the last promotion's place; 0 before the first.
    pub fn last_promotion(&self) -> u64 {
        self.promotions.last().copied().unwrap_or(0)
    }

    /// Which try on this holdout the next candidate is, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.turned_down.saturating_add(1)
    }

    pub(super) fn promoted(&mut self, order: u64) {
        self.promotions.push(order.max(self.last_promotion()));
        let surplus = self.promotions.len().saturating_sub(KEPT_PROMOTIONS);
        self.promotions.drain(..surplus);
        self.turned_down = 0;
        self.probation = Probation::default();
    }

    pub(super) fn can_be_ours(&self) -> bool {
        self.promotions.is_sorted()
            && self.promotions.len() <= KEPT_PROMOTIONS
            && self.probation.tries_left <= N_TRIES
            && self.probation.healthy <= N_HEALTHY
    }
}

impl Probation {
    pub(super) const BEGUN: Probation =
        Probation { tries_left: N_TRIES, healthy: 0, trial_open: false };

    /// A try is given back, and no session is open any more.
    pub(super) fn give_try_back(&mut self) {
        self.tries_left = (self.tries_left + 1).min(N_TRIES);
        self.trial_open = false;
    }
}
