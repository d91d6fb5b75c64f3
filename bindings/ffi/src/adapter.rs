//! What was learned: adapters and where they stand.

use std::time::SystemTime;

use runtime::store::{Digest, Generation, State};

use crate::id;

/// Where an adapter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum AdapterState {
    /// Kept and checked, not in use.
    Staged,
    /// In use on trial: it is taken back when replies get worse.
    Probation,
    /// In use.
    Active,
    /// What was in use before: the way back.
    Fallback,
    /// Given up for a better one.
    Retired,
    /// Taken back for good.
    RolledBack,
    /// Taken back because what it learned from is to be forgotten.
    Revoked,
    /// Made for another model, and back when that one is.
    Dormant,
}

impl From<State> for AdapterState {
    fn from(state: State) -> AdapterState {
        match state {
            State::Staged => AdapterState::Staged,
            State::Probation => AdapterState::Probation,
            State::Active => AdapterState::Active,
            State::Fallback => AdapterState::Fallback,
            State::Retired => AdapterState::Retired,
            State::Bad => AdapterState::RolledBack,
            State::Revoked => AdapterState::Revoked,
            State::Dormant => AdapterState::Dormant,
        }
    }
}

/// One adapter.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct AdapterInfo {
    /// SHA-256 of its file, which names it everywhere.
    pub adapter: String,
    /// Counted from 1 in this store.
    pub number: u64,
    /// Where it stands.
    pub state: AdapterState,
    /// Whether new replies are made with it.
    pub in_force: bool,
    /// The adapter that training started from; none: from the base model.
    pub parent: Option<String>,
    /// When it was made.
    pub created: SystemTime,
    /// Examples that it learned from.
    pub examples: u32,
}

impl AdapterInfo {
    pub(crate) fn new(known: &Generation, in_force: Option<Digest>) -> AdapterInfo {
        AdapterInfo {
            adapter: id::adapter_text(&known.digest),
            number: known.number,
            state: known.state.into(),
            in_force: in_force == Some(known.digest),
            parent: known.meta.parent.as_ref().map(id::adapter_text),
            created: id::instant(known.meta.created_ms),
            examples: known.meta.examples,
        }
    }
}
