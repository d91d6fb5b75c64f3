//! One reply with everything the user did about it.

use sapwood_models::{Message, Role};

use crate::journal::Interaction;
use crate::signal::{Rating, Signal};

/// One shown reply with everything the user did about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Names the reply.
    pub reply_id: u128,
    /// The conversation it belongs to: the unit of the train/holdout split.
    pub session: u128,
    /// The place in the app ("compose", "triage"), as the host names it.
    pub surface: String,
    /// What kind of request this was, as the host names it; may equal the surface.
    pub category: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
    /// System message if any, then the conversation; the last message is the request.
    pub prompt: Vec<Message>,
    /// What the model answered (what was shown of it, if stopped).
    pub reply: String,
    /// Its length.
    pub reply_tokens: u32,
    /// Past exchanges that the model was shown with the request.
    pub shots: u32,
    /// Digest of the adapter that made it; `None` for the base model.
    pub adapter: Option<[u8; 32]>,
    /// What the user did, in order of time.
    pub signals: Vec<Signal>,
    /// Mean negative log-likelihood of its tokens when it was made, in nats, if known.
    pub mean_nll: Option<f32>,
    /// Whether a verifier passed the reply, if one ran.
    pub verified: Option<bool>,
}

impl Turn {
    /// The text of the request.
    pub fn request(&self) -> &str {
        self.prompt.last().map_or("", |m| m.content.as_str())
    }

    /// What the user made of the reply, if they edited it; the last edit counts.
    pub(super) fn edited(&self) -> Option<&str> {
        self.signals.iter().rev().find_map(|s| match s {
            Signal::Edited { text } => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn has(&self, test: impl Fn(&Signal) -> bool) -> bool {
        self.signals.iter().any(test)
    }

    pub(super) fn copied(&self) -> bool {
        self.has(|s| matches!(s, Signal::Copied { .. }))
    }

    pub(super) fn used(&self) -> bool {
        self.copied()
            || self.has(|s| matches!(s, Signal::Accepted | Signal::Edited { .. }))
            || self.has(|s| matches!(s, Signal::Rated { rating: Rating::Up }))
    }
}

/// A reply as a turn without signals. `category` names the kind of request; an app without
/// categories passes the surface.
pub(crate) fn turn(i: &Interaction, category: String) -> Turn {
    let system = i.system.iter().map(|text| Message::new(Role::System, text));
    let said = i.turns.iter().map(|t| Message::new(role(&t.role), &t.text));
    Turn {
        reply_id: i.reply_id,
        session: i.session,
        surface: i.surface.clone(),
        category,
        time_ms: i.time_ms,
        prompt: system.chain(said).collect(),
        reply: i.reply.clone(),
        reply_tokens: i.tokens,
        shots: i.shots,
        adapter: i.adapter_digest,
        signals: Vec::new(),
        mean_nll: i.mean_nll,
        verified: None,
    }
}

/// The journal keeps roles as text; what is neither system nor assistant was said by the user.
fn role(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    }
}
