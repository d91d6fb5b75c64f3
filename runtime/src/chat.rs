//! Conversations and the replies in them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sapwood_models::{
    Adapter, Cache, Message, Model, ModelError, Role, Stop, TokenType, Utf8Stream,
};

use crate::adapter_set::AdapterSet;
use crate::consent::Consent;
use crate::error::LearnerError;
use crate::journal::{Interaction, StopReason};
use crate::prompt::{Prompt, Shot};
use crate::sample::{SampleError, Sampler, Sampling};
use crate::shared::{Shared, Went};
use crate::store::Digest;
use crate::transcript::Transcript;
use crate::verify::ends_in_loop;

/// A finished reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Names the reply in [`Learner::signal`](crate::Learner::signal).
    pub id: u128,
    /// The whole text.
    pub text: String,
    /// The adapter that made it; `None` is the base model.
    pub adapter: Option<Digest>,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of the prompt, examples included.
    pub prompt_tokens: usize,
    /// Tokens of the reply.
    pub tokens: usize,
    /// Past exchanges that were shown to the model.
    pub retrieved: usize,
    /// Whether it was recorded, so that signals can refer to it. It is not without consent, off the
    /// record, in a conversation that quotes what was forgotten, and where the disk is full or fails.
    pub kept: bool,
}

/// What a generation yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Text that goes behind what came before. Whole characters.
    Text(String),
    /// The end.
    Done(Reply),
}

/// How one reply is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of the reply.
    pub max_tokens: usize,
    /// Off: the turn is private, request and reply. It is not kept, can't be signalled, and counts
    /// neither for nor against the adapter. Later turns quote it in their prompt, so nothing is
    /// kept of this conversation any more: begin a new one for what may be.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { sampling: Sampling::default(), max_tokens: 256, record: true }
    }
}

/// A conversation on one surface of the app.
///
/// The chat keeps its turns and the KV cache of them. One generation at a time.
pub struct Chat {
    shared: Arc<Shared>,
    surface: String,
    session: u128,
    /// What had been forgotten when it began.
    silenced: usize,
    state: Arc<Mutex<Option<ChatState>>>,
}

/// What moves into a generation and comes back when it ends.
struct ChatState {
    /// The conversation, behind the app's instructions.
    said: Transcript,
    /// Messages of it that the model is not shown any more: they don't fit the context.
    dropped: usize,
    cache: Option<Cache>,
    last_reply: Option<u128>,
    /// One of the turns is off the record.
    private: bool,
    /// The newest reply made without consent, and how many messages there were with it.
    unheard: Option<(u128, usize)>,
}

/// Most bytes of text that may be new in a turn: the request and what came before it that is not
/// recorded. It bounds what a record can come to.
pub(crate) const MAX_NEW_BYTES: usize = 4 << 20;
/// When the context is full this share of it is cleared at once: each time that turns go, all that
/// stays has to be read anew.
const CLEARED_SHARE: usize = 4;

impl Chat {
    pub(crate) fn new(
        shared: Arc<Shared>,
        surface: &str,
        instructions: Option<&str>,
        turns: Vec<Message>,
    ) -> Result<Chat, LearnerError> {
        let system = instructions.map(|text| Message::new(Role::System, text));
        let said = system.into_iter().chain(turns).collect();
        let state = ChatState {
            said,
            dropped: 0,
            cache: None,
            last_reply: None,
            private: false,
            unheard: None,
        };
        let silenced = shared.kept().silenced.len();
        Ok(Chat {
            session: shared.new_id()?,
            silenced,
            shared,
            surface: surface.to_owned(),
            state: Arc::new(Mutex::new(Some(state))),
        })
    }

    /// Starts a reply to `text`. The prompt is read when the first event is asked for, so that it
    /// can be cancelled while that goes on.
    ///
    /// # Errors
    /// [`LearnerError::Busy`] while another generation of this chat is under way; sampling settings
    /// out of range; a prompt that does not fit the context, or is too long to be recorded.
    pub fn respond(&self, text: &str, options: Options) -> Result<Generation, LearnerError> {
        let mut state = self.take_state()?;
        let before = state.said.clone();
        state.said = before.with(Message::new(Role::User, text));
        self.start(state, before, options)
    }

    /// Starts another reply in place of the last one, and records that it was wanted.
    ///
    /// # Errors
    /// As [`Chat::respond`]; [`LearnerError::NothingToRegenerate`] before the first reply.
    pub fn regenerate(&self, options: Options) -> Result<Generation, LearnerError> {
        let mut state = self.take_state()?;
        let Some(replaced) = state.last_reply else {
            self.put_state(state);
            return Err(LearnerError::NothingToRegenerate);
        };
        let before = state.said.clone();
        state.said = before.without_last();
        let mut generation = self.start(state, before, options)?;
        generation.replaces = Some(replaced);
        Ok(generation)
    }

    fn take_state(&self) -> Result<ChatState, LearnerError> {
        self.state.lock().expect("nothing panics under this lock").take().ok_or(LearnerError::Busy)
    }

    fn put_state(&self, state: ChatState) {
        *self.state.lock().expect("nothing panics under this lock") = Some(state);
    }

    /// Builds the prompt; on an error the turns are what they were `before`.
    fn start(
        &self,
        mut state: ChatState,
        before: Transcript,
        options: Options,
    ) -> Result<Generation, LearnerError> {
        match self.prepare(&mut state, &options) {
            Ok((id, ready)) => Ok(Generation::new(self, id, state, before, options, ready)),
            Err(error) => {
                state.said = before;
                self.put_state(state);
                Err(error)
            }
        }
    }

    fn prepare(
        &self,
        state: &mut ChatState,
        options: &Options,
    ) -> Result<(u128, Ready), LearnerError> {
        let shared = &self.shared;
        let sampler = Sampler::new(options.sampling.clone())?;
        let _ahead = shared.foreground.enter();
        let pinned = shared.begin_use()?;
        if options.record && !state.private {
            shared.check_new_bytes(&state.said, MAX_NEW_BYTES)?;
        }
        let limit = shared.config.context_tokens.saturating_sub(options.max_tokens).max(1);
        let shots = shared.retrieve(&self.surface, &state.said);
        let retrieved = shots.len();
        let prompt = shown(state, shots, limit, &shared.model)?;
        let allowed = shared.kept().consent() == Consent::Granted;
        let ready = Ready { sampler, pinned, retrieved, prompt, allowed, logits: Vec::new() };
        Ok((shared.new_id()?, ready))
    }
}

/// The prompt's tokens, at most `limit`. When turns have to go, enough of them do that the next
/// replies find the same beginning.
fn shown(
    state: &mut ChatState,
    shots: Vec<Shot>,
    limit: usize,
    model: &Model,
) -> Result<Vec<u32>, LearnerError> {
    let mut prompt = Prompt::at(&state.said, shots, limit);
    let first = state.said.len() - prompt.turns.len();
    prompt.turns.drain(..state.dropped.saturating_sub(first).min(prompt.turns.len() - 1));
    let first = state.said.len() - prompt.turns.len();
    let (ids, dropped) = prompt.fit(model, limit)?;
    if dropped == 0 {
        return Ok(ids);
    }
    let roomy = prompt.fit(model, limit - limit / CLEARED_SHARE);
    let (ids, dropped) = roomy.unwrap_or((ids, dropped));
    state.dropped = first + dropped;
    Ok(ids)
}

/// All that a reply is made from.
struct Ready {
    sampler: Sampler,
    pinned: Arc<AdapterSet>,
    retrieved: usize,
    prompt: Vec<u32>,
    /// There was consent when it was asked for.
    allowed: bool,
    /// Of the next token; empty until the prompt was read.
    logits: Vec<f32>,
}

/// One reply under way: an iterator of [`Event`]s that ends after [`Event::Done`] or an error.
///
/// Dropping it before its end cancels it; what was shown until then is recorded. A reply that is
/// cancelled before its first token was never asked for: the conversation is as it was before.
pub struct Generation {
    shared: Arc<Shared>,
    home: Arc<Mutex<Option<ChatState>>>,
    /// Present until the reply is finished.
    state: Option<ChatState>,
    /// The conversation to go back to after an error.
    before: Transcript,
    surface: String,
    session: u128,
    silenced: usize,
    options: Options,
    ready: Ready,
    id: u128,
    replaces: Option<u128>,
    cancel: Stop,
    tokens: Vec<u32>,
    text: String,
    pending: Utf8Stream,
    nll_sum: f64,
    /// The shortest decoding step so far: a reader's pauses and other work don't count.
    fastest: Option<Duration>,
    events: VecDeque<Event>,
}

impl Generation {
    fn new(
        chat: &Chat,
        id: u128,
        state: ChatState,
        before: Transcript,
        options: Options,
        ready: Ready,
    ) -> Generation {
        Generation {
            shared: chat.shared.clone(),
            home: chat.state.clone(),
            state: Some(state),
            before,
            surface: chat.surface.clone(),
            session: chat.session,
            silenced: chat.silenced,
            options,
            ready,
            id,
            replaces: None,
            cancel: Stop::new(),
            tokens: Vec::new(),
            text: String::new(),
            pending: Utf8Stream::default(),
            nll_sum: 0.0,
            fastest: None,
            events: VecDeque::new(),
        }
    }

    /// Id that the reply will have.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Ends the reply after the token that is being computed, or, while the prompt is read, after
    /// the layer of the model.
    pub fn cancel(&self) {
        self.cancel.request();
    }

    /// Lets `stop` cancel this generation too: one stop may serve many.
    pub fn cancelled_by(mut self, stop: Stop) -> Generation {
        let own = self.cancel.clone();
        self.cancel = Stop::governed(move || own.is_requested() || stop.is_requested());
        self
    }

    /// A handle that cancels this generation from another thread.
    pub fn canceller(&self) -> Stop {
        self.cancel.clone()
    }

    /// Runs to the end and returns the whole reply.
    ///
    /// # Errors
    /// As the items of the iterator.
    pub fn finish(mut self) -> Result<Reply, LearnerError> {
        loop {
            match self.next() {
                Some(Ok(Event::Done(reply))) => return Ok(reply),
                Some(Ok(Event::Text(_))) => {}
                Some(Err(error)) => return Err(error),
                None => unreachable!("a generation ends with a reply or an error"),
            }
        }
    }

    /// Reads the prompt; from then on draws one token and computes the logits after it.
    fn advance(&mut self) -> Result<(), LearnerError> {
        if self.cancel.is_requested() {
            self.end(StopReason::Cancelled);
            return Ok(());
        }
        let shared = self.shared.clone();
        let _ahead = shared.foreground.enter();
        if self.ready.logits.is_empty() {
            return match self.read_prompt() {
                Err(ModelError::Stopped) => {
                    self.end(StopReason::Cancelled);
                    Ok(())
                }
                read => Ok(read?),
            };
        }
        let model = &shared.model;
        let step = self.tokens.len() as u64;
        let token = self.ready.sampler.sample(&self.ready.logits, &self.tokens, step)?;
        self.nll_sum += negative_log_likelihood(&self.ready.logits, token);
        if model.tokenizer().is_end(token) {
            self.end(StopReason::End);
            return Ok(());
        }
        self.tokens.push(token);
        if model.tokenizer().token_type(token) != Some(TokenType::Control) {
            let text = self.pending.push(model.tokenizer().piece(token));
            self.show(text);
        }
        if self.tokens.len() >= self.options.max_tokens {
            self.end(StopReason::Length);
            return Ok(());
        }
        let state = self.state.as_mut().expect("present until the end");
        let cache = state.cache.as_mut().expect("made when the prompt was computed");
        let started = Instant::now();
        self.ready.logits = model.step(cache, self.ready.pinned.adapter.as_ref(), &[token])?;
        let took = started.elapsed();
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        Ok(())
    }

    /// Computes what the cache doesn't hold of the prompt, unless it is cancelled.
    fn read_prompt(&mut self) -> Result<(), ModelError> {
        let (model, ready) = (&self.shared.model, &mut self.ready);
        let state = self.state.as_mut().expect("present until the end");
        let capacity = self.shared.config.context_tokens;
        let cache = state.cache.get_or_insert_with(|| model.cache(capacity));
        let adapter = ready.pinned.adapter.as_ref();
        let known = cache.reuse(adapter.map(Adapter::digest), &ready.prompt);
        let unread = &ready.prompt[known..];
        ready.logits = model.step_unless_stopped(cache, adapter, unread, &self.cancel)?;
        Ok(())
    }

    fn show(&mut self, text: String) {
        if !text.is_empty() {
            self.text.push_str(&text);
            self.events.push_back(Event::Text(text));
        }
    }

    /// Gives the conversation back and ends with the reply.
    fn end(&mut self, stop: StopReason) {
        let rest = self.pending.finish();
        self.show(rest);
        let unheard = stop == StopReason::Cancelled && self.tokens.is_empty();
        let kept = if unheard {
            self.go_back();
            false
        } else {
            self.keep(stop)
        };
        self.events.push_back(Event::Done(Reply {
            id: self.id,
            text: self.text.clone(),
            adapter: self.ready.pinned.digest,
            stop,
            prompt_tokens: self.ready.prompt.len(),
            tokens: self.tokens.len(),
            retrieved: self.ready.retrieved,
            kept,
        }));
    }

    /// The reply becomes a turn of the conversation. Returns whether it was recorded.
    fn keep(&mut self, stop: StopReason) -> bool {
        let mut state = self.state.take().expect("a reply ends once");
        let asked = state.said.clone();
        state.said = asked.with(Message::new(Role::Assistant, &self.text));
        state.last_reply = Some(self.id);
        state.private |= !self.options.record;
        let (private, unheard) = (state.private, state.unheard);
        let kept = self.options.record && self.record(asked, stop, private, unheard);
        let allowed = self.ready.allowed && self.shared.kept().consent() == Consent::Granted;
        if !kept && !allowed {
            state.unheard = Some((self.id, state.said.len()));
        }
        self.give_back(state);
        kept
    }

    /// The conversation goes back to what it was before the request.
    fn go_back(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.said = std::mem::take(&mut self.before);
            self.give_back(state);
        }
    }

    fn give_back(&self, state: ChatState) {
        *self.home.lock().expect("nothing panics under this lock") = Some(state);
    }

    /// Keeps the reply unless its conversation is `private`, and tells the shared state how it went.
    /// A reply that can't be kept is still a reply.
    fn record(
        &mut self,
        asked: Transcript,
        stop: StopReason,
        private: bool,
        unheard: Option<(u128, usize)>,
    ) -> bool {
        let tokens = self.tokens.len();
        let drawn = tokens + usize::from(stop == StopReason::End);
        let interaction = Interaction {
            reply_id: self.id,
            session: self.session,
            surface: self.surface.clone(),
            time_ms: self.shared.now_ms(),
            reply: self.text.clone(),
            adapter_digest: self.ready.pinned.digest,
            seed: self.options.sampling.seed,
            shots: self.ready.retrieved as u32,
            tokens: tokens as u32,
            stop,
            mean_nll: (drawn > 0).then(|| (self.nll_sum / drawn as f64) as f32),
            ..Interaction::default()
        };
        let went = Went {
            asked,
            looping: ends_in_loop(&self.tokens),
            fastest: self.fastest,
            silenced: self.silenced,
            replaces: self.replaces.take(),
            private,
            allowed: self.ready.allowed,
            unheard,
        };
        self.shared.replied(interaction, &self.ready.pinned, went)
    }

    fn abandon(&mut self, error: &LearnerError) {
        if matches!(error, LearnerError::Sample(SampleError::NonFinite { .. })) {
            self.shared.damaged(&self.ready.pinned);
        }
        self.go_back();
    }
}

impl Iterator for Generation {
    type Item = Result<Event, LearnerError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.events.is_empty() && self.state.is_some() {
            if let Err(error) = self.advance() {
                self.abandon(&error);
                return Some(Err(error));
            }
        }
        self.events.pop_front().map(Ok)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.state.is_some() {
            self.end(StopReason::Cancelled);
        }
    }
}

/// -log softmax(logits)[token], in nats.
fn negative_log_likelihood(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - max)
}
