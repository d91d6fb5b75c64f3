//! Conversations and replies.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::learner::sapwood_learner;
use super::memory::{Sized32, fill, give_text, given, optional_text, read, text, write};
use super::slice::sapwood_stop;
use super::status::status;
use crate::chat::{Chat, Event, Generation, Message, Reply, Role, Sampling, StopReason};
use crate::error::LearnerError;

/// A conversation. One reply at a time.
pub struct sapwood_chat(Arc<Chat>);

/// The app: standing instructions.
pub const SAPWOOD_ROLE_SYSTEM: u32 = 0;
/// The person.
pub const SAPWOOD_ROLE_USER: u32 = 1;
/// The model.
pub const SAPWOOD_ROLE_ASSISTANT: u32 = 2;

/// One turn of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_message {
    /// sizeof(sapwood_message)
    pub size: u32,
    /// One of SAPWOOD_ROLE_.
    pub role: u32,
    /// What is said.
    pub content: *const c_char,
}

/// How one reply is made. Begin with `sapwood_sampling_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_sampling {
    /// sizeof(sapwood_sampling)
    pub size: u32,
    /// 0 is greedy: always the likeliest token.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the shortest list that holds this much probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens with at least this share of the likeliest one's probability; 0 keeps all.
    pub min_p: f32,
    /// Makes recent tokens less likely; 1 does nothing.
    pub repetition_penalty: f32,
    /// The same seed draws the same reply.
    pub seed: u64,
    /// Most tokens of the reply.
    pub max_tokens: u32,
    /// 0: the turn is private, request and reply. It is not kept and can't be signalled. Later
    /// turns quote it in their prompt, so nothing is kept of this conversation any more: begin a
    /// new one for what may be.
    pub record: u32,
}

/// The model ended it.
pub const SAPWOOD_STOP_END: u32 = 0;
/// It reached max_tokens.
pub const SAPWOOD_STOP_LENGTH: u32 = 1;
/// It was cancelled.
pub const SAPWOOD_STOP_CANCELLED: u32 = 2;
/// It met a stop text of the app.
pub const SAPWOOD_STOP_TEXT: u32 = 3;

/// A finished reply. Set `size` before the call; give `text` back with `sapwood_string_free`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_reply {
    /// sizeof(sapwood_reply)
    pub size: u32,
    /// Why it ended: one of SAPWOOD_STOP_.
    pub stop: u32,
    /// The whole text.
    pub text: *mut c_char,
    /// Tokens of the prompt, with the examples shown.
    pub prompt_tokens: u32,
    /// Tokens of the reply.
    pub tokens: u32,
    /// Past exchanges that were shown to the model.
    pub retrieved: u32,
    /// Names the reply in `sapwood_signal`.
    pub id: [c_char; 33],
    /// The adapter that made it; empty: the base model.
    pub adapter: [c_char; 65],
    /// 1 if it was recorded, so that signals can refer to it. It is not without consent, off the
    /// record, in a conversation that quotes what was forgotten, and where the disk is full or fails.
    pub kept: u32,
}

// SAFETY: a number and a raw pointer behind the size.
unsafe impl Sized32 for sapwood_message {}
// SAFETY: numbers behind the size.
unsafe impl Sized32 for sapwood_sampling {}
// SAFETY: numbers, characters and a raw pointer behind the size.
unsafe impl Sized32 for sapwood_reply {}

/// Takes text as it comes: whole characters, NUL-terminated, gone when it returns. Any value but 0
/// cancels the reply. Called on the thread of `sapwood_respond`, with no lock held, so it may call
/// the library; it must not jump or throw out.
pub type sapwood_on_text =
    Option<unsafe extern "C" fn(text: *const c_char, user: *mut c_void) -> i32>;

/// Begins a conversation on a surface of the app ("mail.reply"), with standing instructions
/// (may be NULL) and the `count` turns so far (NULL for none). End it with `sapwood_chat_close`.
// SAFETY: texts end with NUL, `turns` has `count` structs as large as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_chat_open(
    learner: Option<&sapwood_learner>,
    surface: *const c_char,
    instructions: *const c_char,
    turns: *const sapwood_message,
    count: usize,
    chat: Option<&mut *mut sapwood_chat>,
) -> i32 {
    status(|| {
        let (learner, chat) = (given(learner, "learner")?, given(chat, "chat")?);
        // SAFETY: the caller's promise.
        let (surface, instructions, turns) = unsafe {
            let instructions = optional_text(instructions, "instructions")?;
            (text(surface, "surface")?, instructions, messages(turns, count)?)
        };
        let opened = learner.0.chat(surface, instructions, turns)?;
        *chat = Box::into_raw(Box::new(sapwood_chat(opened)));
        Ok(())
    })
}

/// # Safety
/// As `sapwood_chat_open`.
pub(super) unsafe fn messages(
    turns: *const sapwood_message,
    count: usize,
) -> Result<Vec<Message>, LearnerError> {
    let defaults = sapwood_message { size: 0, role: SAPWOOD_ROLE_USER, content: std::ptr::null() };
    let mut messages = Vec::new();
    let mut at = turns;
    for _ in 0..count {
        // SAFETY: the structs lie one behind the other, each as large as it says.
        let message = unsafe {
            let turn = read(at, defaults, "sapwood_message")?;
            at = at.byte_add(turn.size as usize);
            let role = match turn.role {
                SAPWOOD_ROLE_SYSTEM => Role::System,
                SAPWOOD_ROLE_USER => Role::User,
                SAPWOOD_ROLE_ASSISTANT => Role::Assistant,
                _ => return Err(LearnerError::invalid("role is none of SAPWOOD_ROLE_")),
            };
            Message { role, content: text(turn.content, "content")? }
        };
        messages.push(message);
    }
    Ok(messages)
}

/// Ends a conversation. NULL is no conversation.
// SAFETY: `chat` came from `sapwood_chat_open` and was not closed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_chat_close(chat: *mut sapwood_chat) {
    if !chat.is_null() {
        // SAFETY: made by `sapwood_chat_open`.
        let chat = unsafe { Box::from_raw(chat) };
        status(|| {
            drop(chat);
            Ok(())
        });
    }
}

/// Fills in the defaults.
// SAFETY: `sampling` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_sampling_init(sampling: *mut sapwood_sampling) -> i32 {
    status(|| {
        // SAFETY: the caller's promise.
        unsafe { write(&defaults(), sampling, "sapwood_sampling") }
    })
}

fn defaults() -> sapwood_sampling {
    let known = Sampling::default();
    sapwood_sampling {
        size: 0,
        temperature: known.temperature,
        top_k: known.top_k,
        top_p: known.top_p,
        min_p: known.min_p,
        repetition_penalty: known.repetition_penalty,
        seed: known.seed,
        max_tokens: known.max_tokens,
        record: u32::from(known.record),
    }
}

/// Makes a reply to `prompt` and returns when it is finished. `sampling` may be NULL for the
/// defaults, `on_text` if nobody wants to see it come, `reply` if nobody wants it whole. `user` is
/// handed to `on_text`. `stop` (may be NULL) cancels the reply from any thread, also while a long
/// prompt is read. A reply that is cancelled before its first token leaves the conversation as it
/// was, and is not kept.
// SAFETY: texts end with NUL, structs are as large as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_respond(
    chat: Option<&sapwood_chat>,
    prompt: *const c_char,
    sampling: *const sapwood_sampling,
    stop: Option<&sapwood_stop>,
    on_text: sapwood_on_text,
    user: *mut c_void,
    reply: *mut sapwood_reply,
) -> i32 {
    status(|| {
        let chat = given(chat, "chat")?;
        // SAFETY: the caller's promise.
        unsafe {
            let prompt = text(prompt, "prompt")?;
            let sampling = self::sampling(sampling)?;
            let generation = chat.0.begin(Some(&prompt), sampling, stop.map(sapwood_stop::stop))?;
            run(&generation, on_text, user, reply)
        }
    })
}

/// Makes another reply in place of the last one, and records that it was wanted. As
/// `sapwood_respond` for the rest.
// SAFETY: structs are as large as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_regenerate(
    chat: Option<&sapwood_chat>,
    sampling: *const sapwood_sampling,
    stop: Option<&sapwood_stop>,
    on_text: sapwood_on_text,
    user: *mut c_void,
    reply: *mut sapwood_reply,
) -> i32 {
    status(|| {
        let chat = given(chat, "chat")?;
        // SAFETY: the caller's promise.
        unsafe {
            let sampling = self::sampling(sampling)?;
            let generation = chat.0.begin(None, sampling, stop.map(sapwood_stop::stop))?;
            run(&generation, on_text, user, reply)
        }
    })
}

/// # Safety
/// NULL, or as large as it says.
unsafe fn sampling(given: *const sapwood_sampling) -> Result<Option<Sampling>, LearnerError> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let given = unsafe { read(given, defaults(), "sapwood_sampling") }?;
    Ok(Some(Sampling {
        temperature: given.temperature,
        top_k: given.top_k,
        top_p: given.top_p,
        min_p: given.min_p,
        repetition_penalty: given.repetition_penalty,
        seed: given.seed,
        max_tokens: given.max_tokens,
        record: given.record != 0,
    }))
}

/// Pulls a generation to its end.
///
/// # Safety
/// `on_text` may be called with `user`; `reply` is NULL or as large as it says.
unsafe fn run(
    generation: &Generation,
    on_text: sapwood_on_text,
    user: *mut c_void,
    reply: *mut sapwood_reply,
) -> Result<(), LearnerError> {
    while let Some(event) = generation.next()? {
        match (event, on_text) {
            (Event::Text { delta }, Some(on_text)) => {
                let delta = give_text(&delta);
                // SAFETY: the caller's own function; the text lives until the next line.
                let cancel = unsafe {
                    let cancel = on_text(delta, user);
                    super::memory::sapwood_string_free(delta);
                    cancel
                };
                if cancel != 0 {
                    generation.cancel();
                }
            }
            (Event::Text { .. }, None) => {}
            (Event::Done { reply: done }, _) if !reply.is_null() => {
                // SAFETY: the caller's promise.
                unsafe { give_reply(&done, reply) }?;
            }
            (Event::Done { .. }, _) => {}
        }
    }
    Ok(())
}

/// # Safety
/// `to` is as large as it says.
unsafe fn give_reply(done: &Reply, to: *mut sapwood_reply) -> Result<(), LearnerError> {
    let mut reply = sapwood_reply {
        size: 0,
        stop: match done.stop {
            StopReason::End => SAPWOOD_STOP_END,
            StopReason::Length => SAPWOOD_STOP_LENGTH,
            StopReason::Cancelled => SAPWOOD_STOP_CANCELLED,
            StopReason::StopText => SAPWOOD_STOP_TEXT,
        },
        text: give_text(&done.text),
        prompt_tokens: done.prompt_tokens,
        tokens: done.tokens,
        retrieved: done.retrieved,
        id: [0; 33],
        adapter: [0; 65],
        kept: done.kept.into(),
    };
    fill(&mut reply.id, &done.id);
    fill(&mut reply.adapter, done.adapter.as_deref().unwrap_or_default());
    // SAFETY: the caller's promise. The text goes back where nobody takes it: without the room for
    // it, nothing is written there.
    unsafe {
        let written = write(&reply, to, "sapwood_reply");
        let taken = written.is_ok() && (*to).size as usize > offset_of!(sapwood_reply, text);
        if !taken {
            super::memory::sapwood_string_free(reply.text);
        }
        written
    }
}
