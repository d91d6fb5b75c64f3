//! What an app can be told, by what it can do about it.

use runtime::journal::JournalError;
use runtime::sample::SampleError;
use runtime::store::StoreError;
use runtime::vault::{KeyError, VaultError};
use sapwood_models::ModelError;

use crate::c::status;

/// Why a call failed. Each variant asks for something else of the app. The text says what happened
/// and what to do, in English for developers, and never holds the user's text: it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
#[uniffi::export(Display)]
pub enum LearnerError {
    /// The call was made with a value that it does not take: correct the app.
    #[error("{detail}")]
    Invalid {
        /// Which value, and what it must be.
        detail: String,
    },
    /// Prompt and reply don't fit the context: shorten them, or open with more `context_tokens`.
    #[error("{needed} tokens don't fit the context of {capacity}")]
    TooLong {
        /// Tokens that were needed.
        needed: u64,
        /// Tokens that fit.
        capacity: u64,
    },
    /// No reply or adapter has this id any more, or there is nothing to go back to.
    #[error("{detail}")]
    NotFound {
        /// What was looked for.
        detail: String,
    },
    /// Something else is under way, or the key store can't be used now: wait for it, cancel it, or
    /// try again. Nothing was lost.
    #[error("{detail}")]
    Busy {
        /// What.
        detail: String,
    },
    /// The model file can't be used: fetch it again, or another one.
    #[error("{detail}")]
    Model {
        /// Why not.
        detail: String,
    },
    /// The adapter can't be used: the model stays as it is.
    #[error("{detail}")]
    Adapter {
        /// Why not.
        detail: String,
    },
    /// The store was sealed with another key, its key is gone for good, or it is damaged
    /// throughout. Nothing was changed. With the right key lost, delete the folder.
    #[error("{detail}")]
    Key {
        /// What was found.
        detail: String,
    },
    /// The disk is full or failing, the folder can't be used, or a later version wrote it.
    #[error("{detail}")]
    Storage {
        /// What was tried.
        detail: String,
    },
    /// A bug of this library. Drop the learner and open it again: nothing kept is lost.
    #[error("a bug stopped this learner: open it again, and report what led to it")]
    Fault,
}

#[uniffi::export]
impl LearnerError {
    /// A number that stays the same in all versions and languages: the status of the C interface.
    pub fn code(&self) -> u32 {
        self.status() as u32
    }
}

impl LearnerError {
    /// The status of the C interface.
    pub(crate) fn status(&self) -> i32 {
        match self {
            LearnerError::Invalid { .. } => status::SAPWOOD_INVALID,
            LearnerError::TooLong { .. } => status::SAPWOOD_TOO_LONG,
            LearnerError::NotFound { .. } => status::SAPWOOD_NOT_FOUND,
            LearnerError::Busy { .. } => status::SAPWOOD_BUSY,
            LearnerError::Model { .. } => status::SAPWOOD_MODEL,
            LearnerError::Adapter { .. } => status::SAPWOOD_ADAPTER,
            LearnerError::Key { .. } => status::SAPWOOD_KEY,
            LearnerError::Storage { .. } => status::SAPWOOD_STORAGE,
            LearnerError::Fault => status::SAPWOOD_FAULT,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> LearnerError {
        LearnerError::Invalid { detail: detail.into() }
    }
}

impl From<ModelError> for LearnerError {
    fn from(error: ModelError) -> LearnerError {
        let detail = error.to_string();
        match error {
            ModelError::Map(_)
            | ModelError::Gguf(_)
            | ModelError::Arch(_)
            | ModelError::Tokenizer(_)
            | ModelError::NoTemplate
            | ModelError::Gpu(_) => LearnerError::Model { detail },
            ModelError::ContextFull { needed, capacity } => {
                LearnerError::TooLong { needed: needed as u64, capacity: capacity as u64 }
            }
            ModelError::NoTokens | ModelError::UnknownToken { .. } => {
                LearnerError::Invalid { detail }
            }
            ModelError::NotFinite { .. } => LearnerError::Adapter { detail },
            ModelError::Stopped => LearnerError::Busy { detail },
            ModelError::StaleCache => LearnerError::Fault,
        }
    }
}

impl From<StoreError> for LearnerError {
    fn from(error: StoreError) -> LearnerError {
        let detail = error.to_string();
        match error {
            StoreError::Unreadable => LearnerError::Key { detail },
            StoreError::Busy
            | StoreError::ChangedElsewhere
            | StoreError::Overtaken
            | StoreError::CandidateExists => LearnerError::Busy { detail },
            StoreError::Unknown { .. }
            | StoreError::NothingToRollBack
            | StoreError::NoCandidate
            | StoreError::NoTrial
            | StoreError::NotHealthy { .. } => LearnerError::NotFound { detail },
            StoreError::Refused { .. }
            | StoreError::WrongState { .. }
            | StoreError::Damaged { .. }
            | StoreError::TooManyMetrics { .. } => LearnerError::Adapter { detail },
            StoreError::Disk(_)
            | StoreError::Seal(_)
            | StoreError::NoLocks
            | StoreError::NewerVersion { .. }
            | StoreError::ManifestFull { .. } => LearnerError::Storage { detail },
        }
    }
}

impl From<JournalError> for LearnerError {
    fn from(error: JournalError) -> LearnerError {
        let detail = error.to_string();
        match error {
            JournalError::RecordTooLarge { .. } => LearnerError::Invalid { detail },
            JournalError::Disk(_) | JournalError::Seal(_) => LearnerError::Storage { detail },
        }
    }
}

impl From<VaultError> for LearnerError {
    fn from(error: VaultError) -> LearnerError {
        let detail = error.to_string();
        match error {
            VaultError::Key(KeyError::Permanent) | VaultError::Unreadable => {
                LearnerError::Key { detail }
            }
            VaultError::Key(KeyError::Unavailable | KeyError::Denied)
            | VaultError::Busy
            | VaultError::ChangedElsewhere => LearnerError::Busy { detail },
            VaultError::Key(KeyError::Failed) => LearnerError::Invalid { detail },
            VaultError::Disk(_) | VaultError::Seal(_) | VaultError::NewerVersion { .. } => {
                LearnerError::Storage { detail }
            }
        }
    }
}

impl From<runtime::LearnerError> for LearnerError {
    fn from(error: runtime::LearnerError) -> LearnerError {
        use runtime::LearnerError as Error;
        let detail = error.to_string();
        match error {
            Error::Model(error) => error.into(),
            Error::Store(error) => error.into(),
            Error::Journal(error) => error.into(),
            Error::Vault(error) => error.into(),
            Error::Template(_) => LearnerError::Model { detail },
            Error::Adapter(_) | Error::AdapterNotFinite | Error::AdapterChangesNothing => {
                LearnerError::Adapter { detail }
            }
            Error::Sample(SampleError::Setting { .. }) => LearnerError::Invalid { detail },
            Error::Sample(SampleError::NonFinite { .. }) => LearnerError::Adapter { detail },
            Error::Sample(SampleError::Empty) => LearnerError::Model { detail },
            Error::Folder { .. } | Error::Disk(_) | Error::Seal(_) => {
                LearnerError::Storage { detail }
            }
            Error::UnknownReply { .. } | Error::NothingToRegenerate => {
                LearnerError::NotFound { detail }
            }
            Error::TurnTooLong { .. } => LearnerError::Invalid { detail },
            Error::Busy => LearnerError::Busy { detail },
        }
    }
}
