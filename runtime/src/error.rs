//! What the learner tells its host when it can't do what was asked.

use std::io;
use std::path::PathBuf;

use sapwood_models::{AdapterError, ModelError, TemplateError};
use thiserror::Error;

use crate::disk::DiskError;
use crate::journal::JournalError;
use crate::sample::SampleError;
use crate::seal::SealError;
use crate::store::StoreError;
use crate::vault::VaultError;

impl LearnerError {
    /// The operation of the disk that failed, if one did.
    pub(crate) fn disk(&self) -> Option<&DiskError> {
        match self {
            LearnerError::Disk(error)
            | LearnerError::Store(StoreError::Disk(error))
            | LearnerError::Journal(JournalError::Disk(error))
            | LearnerError::Vault(VaultError::Disk(error)) => Some(error),
            _ => None,
        }
    }
}

/// Why a call to the learner failed. Never holds user text: it may be logged.
#[derive(Debug, Error)]
pub enum LearnerError {
    /// The model can't be used, or the prompt doesn't fit it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's chat template refused the messages.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A file is not an adapter for this model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The adapter's logits are not finite.
    #[error("the adapter gives logits that are not finite: train another one")]
    AdapterNotFinite,
    /// The adapter has no effect.
    #[error("the adapter changes nothing: it was not trained, or not for this model")]
    AdapterChangesNothing,
    /// A sampling setting is out of range, or the model gave no finite logits.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A folder can't be used: the store's, or the one to export into.
    #[error("cannot use the folder {}: {source}; give the app write access to it", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file can't be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The adapters can't be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record was not stored, or the journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keys of the store can't be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The system gives no randomness.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No reply has this id: it was forgotten, is too old to be kept, or was made without consent.
    #[error(
        "reply {reply:032x} is not in the journal: it is too old, was forgotten, or could not be \
         kept, without consent or without room"
    )]
    UnknownReply {
        /// The id.
        reply: u128,
    },
    /// More text is new in a turn than can be recorded at once.
    #[error(
        "{bytes} bytes of the conversation are new, at most {limit} can be kept in one turn; hand in less, or keep it off the record"
    )]
    TurnTooLong {
        /// Bytes of text that are new.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The chat already has a generation under way.
    #[error("this chat is still generating: finish, cancel or drop that generation first")]
    Busy,
    /// There is no reply to replace.
    #[error("there is no reply yet that another one could take the place of")]
    NothingToRegenerate,
}
