//! Recording without a model.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use super::chat::{messages, sapwood_message};
use super::config::{config, sapwood_config};
use super::learner::{consent_number, signal};
use super::memory::{Sized32, copy_text, given, optional_text, read, text};
use super::status::status;
use crate::capture::{Capture, Shown};
use crate::error::LearnerError;

/// Records what the user does, without a model: for a process that has neither the memory nor the
/// time for one. Any number of them may do so beside the one that has the learner.
pub struct sapwood_capture(Arc<Capture>);

/// A reply that was shown in a process without a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_shown {
    /// sizeof(sapwood_shown)
    pub size: u32,
    /// The part of the app, as for `sapwood_chat_open`.
    pub surface: *const c_char,
    /// The conversation; the last turn is the user's request.
    pub turns: *const sapwood_message,
    /// Turns that there are.
    pub count: usize,
    /// The reply.
    pub reply: *const c_char,
    /// The program's standing instructions; may be NULL.
    pub instructions: *const c_char,
    /// Names the conversation: 32 hexadecimal digits that no other one has, as a UUID's. NULL: one
    /// of its own.
    pub conversation: *const c_char,
    /// The adapter that made it, as its sapwood_reply named it; NULL or empty: the base model.
    pub adapter: *const c_char,
}

// SAFETY: numbers and raw pointers behind the size.
unsafe impl Sized32 for sapwood_shown {}

/// Opens the folder of a configuration with its keys, for recording alone; nothing else of it
/// matters. End it with `sapwood_capture_close`.
// SAFETY: as `sapwood_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_capture_open(
    config: *const sapwood_config,
    capture: Option<&mut *mut sapwood_capture>,
) -> i32 {
    status(|| {
        let capture = given(capture, "capture")?;
        // SAFETY: the caller's promise.
        let config = unsafe { self::config(config) }?;
        *capture = Box::into_raw(Box::new(sapwood_capture(Capture::open(config)?)));
        Ok(())
    })
}

/// Makes everything durable and ends the capture. NULL is no capture.
// SAFETY: `capture` came from `sapwood_capture_open` and was not closed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_capture_close(capture: *mut sapwood_capture) {
    if !capture.is_null() {
        // SAFETY: made by `sapwood_capture_open`.
        let capture = unsafe { Box::from_raw(capture) };
        status(|| {
            drop(capture);
            Ok(())
        });
    }
}

/// Whether anything may be kept, as the user last said in any process: one of SAPWOOD_CONSENT_.
// SAFETY: no pointer but the handle and the result is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_capture_consent(
    capture: Option<&sapwood_capture>,
    consent: Option<&mut u32>,
) -> i32 {
    status(|| {
        let (capture, consent) = (given(capture, "capture")?, given(consent, "consent")?);
        *consent = consent_number(capture.0.consent()?);
        Ok(())
    })
}

/// Records a reply that was shown. `reply_id` has room for 33 characters and gets its id, to which
/// signals refer; an empty one without consent, or if something of its conversation was forgotten:
/// nothing is stored then.
// SAFETY: structs are as large as they say, texts end with NUL, `reply_id` has room for 33 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_capture_reply(
    capture: Option<&sapwood_capture>,
    shown: *const sapwood_shown,
    reply_id: *mut c_char,
) -> i32 {
    status(|| {
        let capture = given(capture, "capture")?;
        if reply_id.is_null() {
            return Err(LearnerError::invalid("reply_id is NULL"));
        }
        // SAFETY: the caller's promise.
        let recorded = capture.0.reply(unsafe { self::shown(shown) }?)?;
        // SAFETY: the caller's promise.
        unsafe { copy_text(recorded.as_deref().unwrap_or_default(), reply_id, 33) };
        Ok(())
    })
}

/// # Safety
/// As `sapwood_capture_reply`.
unsafe fn shown(given: *const sapwood_shown) -> Result<Shown, LearnerError> {
    let nothing = sapwood_shown {
        size: 0,
        surface: ptr::null(),
        turns: ptr::null(),
        count: 0,
        reply: ptr::null(),
        instructions: ptr::null(),
        conversation: ptr::null(),
        adapter: ptr::null(),
    };
    // SAFETY: the caller's promise, here and for every pointer in it.
    unsafe {
        let given = read(given, nothing, "sapwood_shown")?;
        let adapter = optional_text(given.adapter, "adapter")?;
        Ok(Shown {
            surface: text(given.surface, "surface")?,
            turns: messages(given.turns, given.count)?,
            reply: text(given.reply, "reply")?,
            instructions: optional_text(given.instructions, "instructions")?,
            conversation: optional_text(given.conversation, "conversation")?,
            adapter: adapter.filter(|adapter| !adapter.is_empty()),
        })
    }
}

/// Says what the user did with a reply, recorded here or elsewhere, as `sapwood_signal`.
// SAFETY: texts end with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_capture_signal(
    capture: Option<&sapwood_capture>,
    reply_id: *const c_char,
    kind: u32,
    text: *const c_char,
    shown_tokens: u32,
) -> i32 {
    status(|| {
        let capture = given(capture, "capture")?;
        // SAFETY: the caller's promise.
        let (reply_id, signal) =
            unsafe { (self::text(reply_id, "reply_id")?, signal(kind, text, shown_tokens)?) };
        capture.0.signal(reply_id, signal)
    })
}

/// Makes everything durable: before the process may be suspended.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_capture_flush(capture: Option<&sapwood_capture>) -> i32 {
    status(|| given(capture, "capture")?.0.flush())
}
