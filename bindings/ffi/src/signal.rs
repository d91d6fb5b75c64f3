//! What the user does with replies, and what of it is kept.

use std::time::SystemTime;

use runtime::learn::example::Turn;
use runtime::secret::PRIVATE;
use runtime::signal::{self, Part, Rating};

use crate::chat::Message;
use crate::error::LearnerError;
use crate::id;

/// Whether the user allowed the library to keep what they do. Until they did, nothing is stored and
/// nothing is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Consent {
    /// Nobody asked yet: nothing is stored.
    Unasked,
    /// Replies and signals are stored, sealed, on this device.
    Granted,
    /// Nothing is stored, shown to the model, or trained on, and the base model answers.
    Refused,
}

impl From<Consent> for runtime::Consent {
    fn from(consent: Consent) -> runtime::Consent {
        match consent {
            Consent::Unasked => runtime::Consent::Unasked,
            Consent::Granted => runtime::Consent::Granted,
            Consent::Refused => runtime::Consent::Refused,
        }
    }
}

impl From<runtime::Consent> for Consent {
    fn from(consent: runtime::Consent) -> Consent {
        match consent {
            runtime::Consent::Unasked => Consent::Unasked,
            runtime::Consent::Granted => Consent::Granted,
            runtime::Consent::Refused => Consent::Refused,
        }
    }
}

/// One reaction of the user to one reply: the only teacher there is.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Signal {
    /// The user changed the reply before using it.
    Edited {
        /// What they made of it, whole.
        text: String,
    },
    /// The user changed the reply before using it, and what they made of it is private: that there
    /// was an edit is kept, and no text.
    EditedPrivately,
    /// The user used the reply as it stands.
    Accepted,
    /// The user copied the reply.
    Copied {
        /// All of it, not a part.
        whole: bool,
    },
    /// The user rated the reply.
    Rated {
        /// Thumb up.
        good: bool,
    },
    /// The user asked for another reply in its place. `Chat::regenerate` tells this by itself.
    Regenerated {
        /// The reply that took its place.
        new_reply: String,
    },
    /// The user stopped the reply.
    Stopped {
        /// Tokens that they had seen.
        shown_tokens: u32,
    },
    /// The user asked the same thing again in other words.
    Rephrased {
        /// The reply to that.
        new_reply: String,
    },
    /// The user left without using the reply.
    Abandoned,
}

impl TryFrom<Signal> for signal::Signal {
    type Error = LearnerError;

    fn try_from(given: Signal) -> Result<signal::Signal, LearnerError> {
        Ok(match given {
            Signal::Edited { text } => signal::Signal::Edited { text },
            Signal::EditedPrivately => signal::Signal::edited_privately(),
            Signal::Accepted => signal::Signal::Accepted,
            Signal::Copied { whole } => {
                signal::Signal::Copied { part: if whole { Part::Whole } else { Part::Part } }
            }
            Signal::Rated { good } => {
                signal::Signal::Rated { rating: if good { Rating::Up } else { Rating::Down } }
            }
            Signal::Regenerated { new_reply } => {
                signal::Signal::Regenerated { new_reply: id::reply_id(&new_reply)? }
            }
            Signal::Stopped { shown_tokens } => signal::Signal::Stopped { shown_tokens },
            Signal::Rephrased { new_reply } => {
                signal::Signal::Rephrased { new_reply: id::reply_id(&new_reply)? }
            }
            Signal::Abandoned => signal::Signal::Abandoned,
        })
    }
}

impl From<signal::Signal> for Signal {
    fn from(kept: signal::Signal) -> Signal {
        match kept {
            signal::Signal::Edited { text } if text == PRIVATE => Signal::EditedPrivately,
            signal::Signal::Edited { text } => Signal::Edited { text },
            signal::Signal::Accepted => Signal::Accepted,
            signal::Signal::Copied { part } => Signal::Copied { whole: part == Part::Whole },
            signal::Signal::Rated { rating } => Signal::Rated { good: rating == Rating::Up },
            signal::Signal::Regenerated { new_reply } => {
                Signal::Regenerated { new_reply: id::reply_text(new_reply) }
            }
            signal::Signal::Stopped { shown_tokens } => Signal::Stopped { shown_tokens },
            signal::Signal::Rephrased { new_reply } => {
                Signal::Rephrased { new_reply: id::reply_text(new_reply) }
            }
            signal::Signal::Abandoned => Signal::Abandoned,
        }
    }
}

/// One reply that was kept, with what the user did: for a page that shows what is stored.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Sample {
    /// Names the reply.
    pub reply_id: String,
    /// Names the conversation it belongs to.
    pub conversation: String,
    /// The part of the app.
    pub surface: String,
    /// When.
    pub time: SystemTime,
    /// What was new in the conversation when it was made, the request last. What came before are the
    /// earlier samples of the conversation.
    pub prompt: Vec<Message>,
    /// What the model answered.
    pub reply: String,
    /// The adapter that answered; none: the base model.
    pub adapter: Option<String>,
    /// What the user did with it, in order.
    pub signals: Vec<Signal>,
}

impl From<Turn> for Sample {
    fn from(turn: Turn) -> Sample {
        Sample {
            reply_id: id::reply_text(turn.reply_id),
            conversation: id::reply_text(turn.session),
            time: id::instant(turn.time_ms),
            prompt: turn.asked().into_iter().cloned().map(Message::from).collect(),
            surface: turn.surface,
            reply: turn.reply,
            adapter: turn.adapter.as_ref().map(id::adapter_text),
            signals: turn.signals.into_iter().map(Signal::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_come_back_as_they_went() {
        let id = "0123456789abcdef0123456789abcdef".to_owned();
        let all = [
            Signal::Edited { text: "x".into() },
            Signal::EditedPrivately,
            Signal::Accepted,
            Signal::Copied { whole: true },
            Signal::Copied { whole: false },
            Signal::Rated { good: true },
            Signal::Rated { good: false },
            Signal::Regenerated { new_reply: id.clone() },
            Signal::Stopped { shown_tokens: 3 },
            Signal::Rephrased { new_reply: id },
            Signal::Abandoned,
        ];
        for given in all {
            let inside = signal::Signal::try_from(given.clone()).unwrap();
            assert_eq!(Signal::from(inside), given);
        }
    }
}
