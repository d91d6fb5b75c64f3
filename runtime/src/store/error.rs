//! What can go wrong with the store.

use std::io;

use super::manifest::State;
use crate::digest::{Digest, hex};
use crate::disk::DiskError;
use crate::seal::SealError;

/// Why the store could not be opened or changed. After an error the state is the one
/// before the call; only a power loss right after a failed sync may still bring out the new one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed, is full, or refuses access.
    #[error(transparent)]
    Disk(DiskError),
    /// No randomness for a key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Somebody else is changing the store at this moment.
    #[error("another process is changing the store; try again")]
    Busy,
    /// The file system or the system has no advisory locks, so a single writer cannot be assured.
    #[error("the store's file system has no locks; put the store on a local one")]
    NoLocks,
    /// Somebody else changed the store since it was opened here.
    #[error("another process changed the store; open it again")]
    ChangedElsewhere,
    /// Neither copy of the manifest can be read. Nothing was changed or deleted.
    #[error("the manifest cannot be read: the root key is another one, or both copies are damaged")]
    Unreadable,
    /// The store was written by a later version. Nothing was changed.
    #[error("the store has format {found}, this version reads up to {known}; update the app")]
    NewerVersion {
        /// Format found.
        found: u16,
        /// The latest format known here.
        known: u16,
    },
    /// The manifest would not fit into its slot.
    #[error("the manifest would take {bytes} bytes of {limit}; drop staged generations or metrics")]
    ManifestFull {
        /// Bytes needed.
        bytes: usize,
        /// Bytes there are.
        limit: usize,
    },
    /// More metrics than are kept, or too long a name.
    #[error("a generation keeps at most {limit} metrics with names of at most {name_bytes} bytes")]
    TooManyMetrics {
        /// How many.
        limit: usize,
        /// How long.
        name_bytes: usize,
    },
    /// No generation has this digest.
    #[error("no generation {} is kept here", hex(.digest))]
    Unknown {
        /// The digest.
        digest: Digest,
    },
    /// The generation is not in the state that this step starts from.
    #[error("generation {} is {state:?}; this step needs {needed:?}", hex(.digest))]
    WrongState {
        /// The generation.
        digest: Digest,
        /// The state it is in.
        state: State,
        /// The state it should be in.
        needed: State,
    },
    /// The digest was rolled back or forgotten before and may not come back.
    #[error("adapter {} was rolled back or forgotten before; train another one", hex(.digest))]
    Refused {
        /// The digest.
        digest: Digest,
    },
    /// The adapter's file is missing or not what was stored.
    #[error("the file of adapter {} is damaged; roll back", hex(.digest))]
    Damaged {
        /// The generation.
        digest: Digest,
    },
    /// The verdict is about something that is not in force any more.
    #[error("another adapter came into force while this one was judged; judge it again")]
    Overtaken,
    /// Another candidate is on probation.
    #[error("a candidate is on probation already; confirm it or roll it back first")]
    CandidateExists,
    /// No candidate is on probation.
    #[error("no candidate is on probation")]
    NoCandidate,
    /// `healthy` without a trial begun in this session.
    #[error("no trial was begun in this session")]
    NoTrial,
    /// Too few healthy sessions to confirm.
    #[error("the candidate had {healthy} healthy sessions of the {needed} needed")]
    NotHealthy {
        /// Healthy sessions so far.
        healthy: u8,
        /// Sessions needed.
        needed: u8,
    },
    /// The base model is in force and there is no candidate.
    #[error("no adapter is in force, so there is nothing to roll back")]
    NothingToRollBack,
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> StoreError {
        match (error.operation, error.source.kind()) {
            ("lock", io::ErrorKind::WouldBlock) => StoreError::Busy,
            ("lock", io::ErrorKind::Unsupported) => StoreError::NoLocks,
            // Another process has left this epoch, and its folder is gone.
            ("lock", io::ErrorKind::NotFound) => StoreError::ChangedElsewhere,
            _ => StoreError::Disk(error),
        }
    }
}
