//! Recording without a model, for processes that only watch the user.

use std::sync::Arc;

use runtime::seal;

use crate::chat::Message;
use crate::config::Config;
use crate::error::LearnerError;
use crate::fence::Fence;
use crate::id;
use crate::signal::{Consent, Signal};

/// A reply that was shown in a process without a model.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Shown {
    /// The part of the app, as for `Learner::chat`.
    pub surface: String,
    /// The conversation; the last turn is the user's request.
    pub turns: Vec<Message>,
    /// The reply.
    pub reply: String,
    /// The app's standing instructions.
    #[uniffi(default = None)]
    pub instructions: Option<String>,
    /// Names the conversation: 32 hexadecimal digits that no other one has, as a UUID's. None: one
    /// of its own.
    #[uniffi(default = None)]
    pub conversation: Option<String>,
    /// The adapter that made it, as its `Reply` named it; none: the base model.
    #[uniffi(default = None)]
    pub adapter: Option<String>,
}

impl TryFrom<Shown> for runtime::Shown {
    type Error = LearnerError;

    fn try_from(shown: Shown) -> Result<runtime::Shown, LearnerError> {
        let conversation = match shown.conversation {
            Some(conversation) => id::reply_id(&conversation)?,
            None => u128::from_le_bytes(seal::random().map_err(runtime::LearnerError::from)?),
        };
        Ok(runtime::Shown {
            surface: shown.surface,
            conversation,
            instructions: shown.instructions,
            turns: shown.turns.into_iter().map(Into::into).collect(),
            reply: shown.reply,
            adapter: shown.adapter.as_deref().map(id::adapter_digest).transpose()?,
        })
    }
}

/// Records what the user does, without a model: for a keyboard or a share extension, which have
/// neither the memory nor the time for one. Any number of processes may do so beside the one that
/// has the learner, which takes it in before its next reply, signal or slice.
#[derive(uniffi::Object)]
pub struct Capture {
    fence: Fence,
    capture: runtime::Capture,
}

#[uniffi::export]
impl Capture {
    /// Opens the folder of `config` with its keys; nothing else of it matters.
    #[uniffi::constructor]
    pub fn open(config: Config) -> Result<Arc<Capture>, LearnerError> {
        let fence = Fence::default();
        let capture = fence.call(|| {
            let config = config.check()?;
            Ok::<_, LearnerError>(runtime::Learner::open_capture(&config)?)
        })?;
        Ok(Arc::new(Capture { fence, capture }))
    }

    /// Whether anything may be kept, as the user last said in any process.
    pub fn consent(&self) -> Result<Consent, LearnerError> {
        self.fence.call(|| self.capture.consent()).map(Consent::from)
    }

    /// Records a reply that was shown and returns its id, to which signals refer. None without
    /// consent, or if something of its conversation was forgotten: nothing is stored then.
    pub fn reply(&self, shown: Shown) -> Result<Option<String>, LearnerError> {
        let shown = shown.try_into()?;
        let recorded = self.fence.call(|| self.capture.reply(shown))?;
        Ok(recorded.map(id::reply_text))
    }

    /// Says what the user did with a reply, recorded here or elsewhere. Without consent this does
    /// nothing.
    pub fn signal(&self, reply_id: String, signal: Signal) -> Result<(), LearnerError> {
        let reply = id::reply_id(&reply_id)?;
        let signal = signal.try_into()?;
        self.fence.call(|| self.capture.signal(reply, signal))
    }

    /// Makes everything durable: call it before the process may be suspended.
    pub fn flush(&self) -> Result<(), LearnerError> {
        self.fence.call(|| self.capture.flush())
    }
}
