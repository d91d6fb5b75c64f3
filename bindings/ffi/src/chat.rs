//! Conversations and the replies in them.

use std::iter::Peekable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::journal;
use runtime::sample;
use sapwood_models::{self as models, Stop};

use crate::error::LearnerError;
use crate::fence::Fence;
use crate::id;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Role {
    /// The app: standing instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl From<Message> for models::Message {
    fn from(message: Message) -> models::Message {
        let role = match message.role {
            Role::System => models::Role::System,
            Role::User => models::Role::User,
            Role::Assistant => models::Role::Assistant,
        };
        models::Message { role, content: message.content }
    }
}

impl From<models::Message> for Message {
    fn from(message: models::Message) -> Message {
        let role = match message.role {
            models::Role::System => Role::System,
            models::Role::User => Role::User,
            models::Role::Assistant => Role::Assistant,
        };
        Message { role, content: message.content }
    }
}

/// How one reply is made.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Sampling {
    /// 0 is greedy: always the likeliest token.
    #[uniffi(default = 0.8)]
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    #[uniffi(default = 40)]
    pub top_k: u32,
    /// Keep the shortest list that holds this much probability; 1 keeps all.
    #[uniffi(default = 0.95)]
    pub top_p: f32,
    /// Keep tokens with at least this share of the likeliest one's probability; 0 keeps all.
    #[uniffi(default = 0.05)]
    pub min_p: f32,
    /// Makes tokens of the last 64 less likely; 1 does nothing.
    #[uniffi(default = 1.0)]
    pub repetition_penalty: f32,
    /// The same seed draws the same reply.
    #[uniffi(default = 0)]
    pub seed: u64,
    /// Most tokens of the reply.
    #[uniffi(default = 256)]
    pub max_tokens: u32,
    /// Off: the turn is private, request and reply. It is not kept and can't be signalled. Later
    /// turns quote it in their prompt, so nothing is kept of this conversation any more: begin a
    /// new one for what may be.
    #[uniffi(default = true)]
    pub record: bool,
}

impl Default for Sampling {
    fn default() -> Sampling {
        let runtime::Options { sampling, max_tokens, record } = runtime::Options::default();
        Sampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k as u32,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            seed: sampling.seed,
            max_tokens: max_tokens as u32,
            record,
        }
    }
}

impl From<Sampling> for runtime::Options {
    fn from(given: Sampling) -> runtime::Options {
        let sampling = sample::Sampling {
            temperature: given.temperature,
            top_k: given.top_k as usize,
            top_p: given.top_p,
            min_p: given.min_p,
            repetition_penalty: given.repetition_penalty,
            seed: given.seed,
            ..sample::Sampling::default()
        };
        let (max_tokens, record) = (given.max_tokens as usize, given.record);
        runtime::Options { sampling, max_tokens, record }
    }
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum StopReason {
    /// The model ended it.
    End,
    /// It reached `max_tokens`.
    Length,
    /// It was cancelled. Without a token, the conversation is what it was before.
    Cancelled,
    /// It met a stop text of the app.
    StopText,
}

impl From<journal::StopReason> for StopReason {
    fn from(reason: journal::StopReason) -> StopReason {
        match reason {
            journal::StopReason::End => StopReason::End,
            journal::StopReason::Length => StopReason::Length,
            journal::StopReason::Cancelled => StopReason::Cancelled,
            journal::StopReason::StopText => StopReason::StopText,
        }
    }
}

/// A finished reply.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Reply {
    /// Names the reply in `Learner::signal`.
    pub id: String,
    /// The whole text.
    pub text: String,
    /// The adapter that made it; none: the base model.
    pub adapter: Option<String>,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of the prompt, with the examples shown.
    pub prompt_tokens: u32,
    /// Tokens of the reply.
    pub tokens: u32,
    /// Past exchanges that were shown to the model.
    pub retrieved: u32,
    /// Whether it was recorded, so that signals can refer to it. It is not without consent, off the
    /// record, in a conversation that quotes what was forgotten, and where the disk is full or fails.
    pub kept: bool,
}

impl From<runtime::Reply> for Reply {
    fn from(reply: runtime::Reply) -> Reply {
        Reply {
            id: id::reply_text(reply.id),
            text: reply.text,
            adapter: reply.adapter.as_ref().map(id::adapter_text),
            stop: reply.stop.into(),
            prompt_tokens: reply.prompt_tokens as u32,
            tokens: reply.tokens as u32,
            retrieved: reply.retrieved as u32,
            kept: reply.kept,
        }
    }
}

/// What a generation yields.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Event {
    /// Text that goes behind what came before: whole characters.
    Text {
        /// The new text.
        delta: String,
    },
    /// The end.
    Done {
        /// The whole reply.
        reply: Reply,
    },
}

/// A conversation on one surface of the app. One generation at a time.
#[derive(uniffi::Object)]
pub struct Chat {
    pub(crate) fence: Arc<Fence>,
    pub(crate) chat: runtime::Chat,
}

#[uniffi::export]
impl Chat {
    /// Starts a reply. The prompt is read by the first `next` of it, and can be cancelled.
    #[uniffi::method(default(sampling = None))]
    pub fn respond(
        &self,
        text: String,
        sampling: Option<Sampling>,
    ) -> Result<Arc<Generation>, LearnerError> {
        self.begin(Some(&text), sampling, None)
    }

    /// Starts another reply in place of the last one, and records that it was wanted.
    #[uniffi::method(default(sampling = None))]
    pub fn regenerate(&self, sampling: Option<Sampling>) -> Result<Arc<Generation>, LearnerError> {
        self.begin(None, sampling, None)
    }
}

impl Chat {
    /// Starts a reply to `text`, or another one in place of the last, that `stop` cancels too.
    pub(crate) fn begin(
        &self,
        text: Option<&str>,
        sampling: Option<Sampling>,
        stop: Option<Stop>,
    ) -> Result<Arc<Generation>, LearnerError> {
        let options = sampling.unwrap_or_default().into();
        let mut generation = self.fence.call(|| match text {
            Some(text) => self.chat.respond(text, options),
            None => self.chat.regenerate(options),
        })?;
        if let Some(stop) = stop {
            generation = generation.cancelled_by(stop);
        }
        Ok(Arc::new(Generation {
            fence: self.fence.clone(),
            id: id::reply_text(generation.id()),
            canceller: generation.canceller(),
            under_way: Mutex::new(Some(generation.peekable())),
        }))
    }
}

/// One display frame at 60 Hz. Shorter pieces of text can't be seen, and each costs a crossing of
/// the language border.
const FRAME: Duration = Duration::from_millis(16);

/// One reply under way. Dropping it cancels it.
#[derive(uniffi::Object)]
pub struct Generation {
    fence: Arc<Fence>,
    id: String,
    canceller: Stop,
    /// Gone when it has ended.
    under_way: Mutex<Option<Peekable<runtime::Generation>>>,
}

#[uniffi::export]
impl Generation {
    /// The id that the reply will have.
    pub fn reply_id(&self) -> String {
        self.id.clone()
    }

    /// Waits for text and returns all there is of it, then the end once, then nothing.
    pub fn next(&self) -> Result<Option<Event>, LearnerError> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let event = self.fence.call(|| under_way.as_mut().map_or(Ok(None), pull));
        if !matches!(event, Ok(Some(Event::Text { .. }))) {
            *under_way = None;
        }
        event
    }

    /// Ends the reply after the token that is being computed, or, while the prompt is read, after
    /// a layer of the model. `next` yields the end then. A reply that is cancelled before its first
    /// token leaves the conversation as it was, and is not kept.
    pub fn cancel(&self) {
        self.canceller.request();
    }
}

/// Text until a frame has passed or no more comes, else what ends the generation.
fn pull(
    generation: &mut Peekable<runtime::Generation>,
) -> Result<Option<Event>, runtime::LearnerError> {
    let started = Instant::now();
    let mut delta = String::new();
    let text = |event: &Result<runtime::Event, _>| matches!(event, Ok(runtime::Event::Text(_)));
    while let Some(Ok(runtime::Event::Text(text))) = generation.next_if(text) {
        delta += &text;
        if started.elapsed() >= FRAME {
            break;
        }
    }
    if !delta.is_empty() {
        return Ok(Some(Event::Text { delta }));
    }
    match generation.next().transpose()? {
        Some(runtime::Event::Text(delta)) => Ok(Some(Event::Text { delta })),
        Some(runtime::Event::Done(reply)) => Ok(Some(Event::Done { reply: reply.into() })),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_defaults_are_the_runtimes() {
        // As the attributes above say, for the other languages.
        let written = Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            seed: 0,
            max_tokens: 256,
            record: true,
        };
        assert_eq!(written, Sampling::default());
        assert_eq!(runtime::Options::from(written), runtime::Options::default());
    }
}
