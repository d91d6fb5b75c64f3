//! Forgetting.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::LearnerError;
use crate::id;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Scope {
    /// One reply with its request and signals.
    Reply {
        /// Its id.
        reply_id: String,
    },
    /// A conversation.
    Conversation {
        /// As `Sample.conversation` names it.
        conversation: String,
    },
    /// All that happened in one part of the app.
    Surface {
        /// Its name.
        surface: String,
    },
    /// All from one instant on and before another.
    Time {
        /// The first instant.
        from: SystemTime,
        /// The first one that is kept again.
        until: SystemTime,
    },
    /// Everything.
    Everything,
}

impl TryFrom<Scope> for runtime::Scope {
    type Error = LearnerError;

    fn try_from(scope: Scope) -> Result<runtime::Scope, LearnerError> {
        let ms = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        Ok(match scope {
            Scope::Reply { reply_id } => runtime::Scope::Reply(id::reply_id(&reply_id)?),
            Scope::Conversation { conversation } => {
                runtime::Scope::Conversation(id::reply_id(&conversation)?)
            }
            Scope::Surface { surface } => runtime::Scope::Surface(surface),
            Scope::Time { from, until } => {
                runtime::Scope::Time { from_ms: ms(from), until_ms: ms(until) }
            }
            Scope::Everything => runtime::Scope::Everything,
        })
    }
}

/// What was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DeletionReceipt {
    /// Replies that are gone, with their requests and signals.
    pub replies: Vec<String>,
    /// Adapters that learned from them, or from an adapter that did: gone, and refused for good.
    pub adapters: Vec<String>,
    /// Whether a training run was dropped.
    pub run_dropped: bool,
    /// The adapter that new replies are made with now; none: the base model.
    pub in_force: Option<String>,
    /// When.
    pub time: SystemTime,
    /// How far their bytes are gone.
    pub erasure: Erasure,
}

/// How far the bytes of what was forgotten are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Erasure {
    /// Still there, sealed: the key store, the disk or another process stood in the way. The next
    /// training slice or request to forget tries again.
    Pending,
    /// Deleted. With the key or passphrase of the configuration and old copies of the folder they
    /// could be read. A `KeyProvider` does better.
    Deleted,
    /// Their key was destroyed: copies of them are noise.
    Shredded,
}

impl From<runtime::DeletionReceipt> for DeletionReceipt {
    fn from(receipt: runtime::DeletionReceipt) -> DeletionReceipt {
        DeletionReceipt {
            replies: receipt.replies.into_iter().map(id::reply_text).collect(),
            adapters: receipt.adapters.iter().map(id::adapter_text).collect(),
            run_dropped: receipt.run_dropped,
            in_force: receipt.in_force.as_ref().map(id::adapter_text),
            time: id::instant(receipt.time_ms),
            erasure: match receipt.erasure {
                runtime::Erasure::Pending => Erasure::Pending,
                runtime::Erasure::Deleted => Erasure::Deleted,
                runtime::Erasure::Shredded => Erasure::Shredded,
            },
        }
    }
}
