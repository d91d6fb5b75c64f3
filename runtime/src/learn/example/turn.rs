//! One reply with everything the user did about it.

use std::sync::OnceLock;

use sapwood_models::{Message, Role};

use crate::journal::Interaction;
use crate::learn::text;
use crate::signal::{Rating, Signal};
use crate::transcript::Transcript;

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
    /// Its place among all that happened: see [`Interaction::order`].
    pub order: u64,
    /// When, in milliseconds since the epoch, by the clock of then.
    pub time_ms: u64,
    /// System message if any, then the conversation; the last message is the request.
    pub prompt: Transcript,
    /// The turn that its prompt goes on from.
    pub follows: Option<u128>,
    /// How many messages of the prompt were there in that turn already.
    pub(crate) known: usize,
    /// That turn is not kept any more, so the prompt lacks its beginning.
    pub is_cut: bool,
    /// What the model answered (what was shown of it, if stopped).
    pub reply: String,
    /// Its length.
    pub reply_tokens: u32,
    /// Past exchanges that the model was shown with the request.
    pub shots: u32,
    /// Digest of the adapter that made it; `None` for the base model.
    pub adapter: Option<[u8; 32]>,
    /// What the user did, in the order in which they did it.
    pub signals: Vec<Signal>,
    pub(crate) distance: Distance,
    /// Mean negative log-likelihood of its tokens when it was made, in nats, if known.
    pub mean_nll: Option<f32>,
}

/// The distance of an edit, computed once: it is asked for with every signal on any turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distance(OnceLock<f64>);

/// What is known of it makes no difference.
impl PartialEq for Distance {
    fn eq(&self, _: &Distance) -> bool {
        true
    }
}

impl Turn {
    /// The text of the request.
    pub fn request(&self) -> &str {
        self.prompt.last().map_or("", |m| m.content.as_str())
    }

    /// The messages that are new in the prompt, oldest first.
    pub fn asked(&self) -> Vec<&Message> {
        self.prompt.after(self.known)
    }

    /// Takes in what the user did.
    pub(crate) fn add_signal(&mut self, signal: &Signal) {
        self.distance = Distance::default();
        self.signals.push(signal.clone());
    }

    /// Puts what is new in the prompt behind another beginning; `None`: it is not kept any more.
    pub(crate) fn go_on_from(&mut self, before: Option<&Turn>) {
        let asked: Vec<Message> = self.asked().into_iter().cloned().collect();
        let beginning = before.map(Turn::answered).unwrap_or_default();
        self.known = beginning.len();
        self.prompt = asked.into_iter().fold(beginning, |prompt, message| prompt.with(message));
        self.is_cut = before.is_none_or(|before| before.is_cut);
    }

    /// The conversation up to the reply.
    pub(crate) fn answered(&self) -> Transcript {
        self.prompt.with(Message::new(Role::Assistant, &self.reply))
    }

    /// What the user made of the reply, if they edited it; the last edit counts.
    pub(super) fn edited(&self) -> Option<&str> {
        self.signals.iter().rev().find_map(|s| match s {
            Signal::Edited { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// How far the reply is from what the user made of it ([`text::distance`]), if they edited it.
    pub(super) fn edit_distance(&self) -> Option<f64> {
        let edited = self.edited()?;
        Some(*self.distance.0.get_or_init(|| text::distance(&self.reply, edited)))
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

/// A reply as a turn without signals, behind the one that it follows, if that is there. `category`
/// names the kind of request; an app without categories passes the surface.
pub(crate) fn turn(i: &Interaction, category: String, follows: Option<&Turn>) -> Turn {
    let system = i.system.iter().map(|text| Message::new(Role::System, text));
    let said = i.turns.iter().map(|t| Message::new(role(&t.role), &t.text));
    let mut turn = Turn {
        reply_id: i.reply_id,
        session: i.session,
        surface: i.surface.clone(),
        category,
        order: i.order,
        time_ms: i.time_ms,
        known: 0,
        prompt: system.chain(said).collect(),
        follows: i.follows,
        is_cut: false,
        reply: i.reply.clone(),
        reply_tokens: i.tokens,
        shots: i.shots,
        adapter: i.adapter_digest,
        signals: Vec::new(),
        distance: Distance::default(),
        mean_nll: i.mean_nll,
    };
    if turn.follows.is_some() {
        turn.go_on_from(follows);
    }
    turn
}

/// The journal keeps roles as text; what is neither system nor assistant was said by the user.
fn role(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    }
}
