//! The learner.

use std::ffi::c_char;
use std::sync::Arc;

use super::config::{config, device, sapwood_config, sapwood_device_state};
use super::memory::{given, text};
use super::status::status;
use crate::error::LearnerError;
use crate::learner::Learner;
use crate::signal::{Consent, Signal};

/// A model that learns from its user: one per folder.
pub struct sapwood_learner(pub(super) Arc<Learner>);

/// Opens the model and the folder, recovers from whatever happened to the last process, and puts
/// the right adapter in force. End it with `sapwood_close`.
// SAFETY: structs are as large as they say, texts end with NUL, the key has 32 bytes, the key
// provider's functions may be called as its struct says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_open(
    config: *const sapwood_config,
    learner: Option<&mut *mut sapwood_learner>,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        let config = unsafe { self::config(config) }?;
        *learner = Box::into_raw(Box::new(sapwood_learner(Learner::open(config)?)));
        Ok(())
    })
}

/// Makes everything durable and ends the learner; its conversations may be closed later. NULL is no
/// learner.
// SAFETY: `learner` came from `sapwood_open` and was not closed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_close(learner: *mut sapwood_learner) {
    if !learner.is_null() {
        // SAFETY: made by `sapwood_open`.
        let learner = unsafe { Box::from_raw(learner) };
        status(|| {
            drop(learner);
            Ok(())
        });
    }
}

/// The user changed the reply before using it; `text` is what they made of it, whole.
pub const SAPWOOD_SIGNAL_EDITED: u32 = 0;
/// The user used the reply as it stands.
pub const SAPWOOD_SIGNAL_ACCEPTED: u32 = 1;
/// The user copied the whole reply.
pub const SAPWOOD_SIGNAL_COPIED: u32 = 2;
/// The user copied a part of the reply.
pub const SAPWOOD_SIGNAL_COPIED_PART: u32 = 3;
/// Thumb up.
pub const SAPWOOD_SIGNAL_RATED_GOOD: u32 = 4;
/// Thumb down.
pub const SAPWOOD_SIGNAL_RATED_BAD: u32 = 5;
/// The user asked for another reply in its place; `text` is that one's id. `sapwood_regenerate`
/// tells this by itself.
pub const SAPWOOD_SIGNAL_REGENERATED: u32 = 6;
/// The user stopped the reply after `shown_tokens`.
pub const SAPWOOD_SIGNAL_STOPPED: u32 = 7;
/// The user asked the same in other words; `text` is the id of the reply to that.
pub const SAPWOOD_SIGNAL_REPHRASED: u32 = 8;
/// The user left without using the reply.
pub const SAPWOOD_SIGNAL_ABANDONED: u32 = 9;
/// The user changed the reply before using it, and what they made of it is private: that there was
/// an edit is kept, and no text.
pub const SAPWOOD_SIGNAL_EDITED_PRIVATELY: u32 = 10;

/// Says what the user did with a reply: `kind` is one of SAPWOOD_SIGNAL_, which says whether `text`
/// and `shown_tokens` matter (NULL and 0 otherwise). Without consent this does nothing.
// SAFETY: texts end with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_signal(
    learner: Option<&sapwood_learner>,
    reply_id: *const c_char,
    kind: u32,
    text: *const c_char,
    shown_tokens: u32,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        let (reply_id, signal) =
            unsafe { (self::text(reply_id, "reply_id")?, signal(kind, text, shown_tokens)?) };
        learner.0.signal(reply_id, signal)
    })
}

/// # Safety
/// `text` is NULL or ends with NUL.
pub(super) unsafe fn signal(
    kind: u32,
    text: *const c_char,
    shown_tokens: u32,
) -> Result<Signal, LearnerError> {
    // SAFETY: the caller's promise.
    let told = || unsafe { self::text(text, "text") };
    Ok(match kind {
        SAPWOOD_SIGNAL_EDITED => Signal::Edited { text: told()? },
        SAPWOOD_SIGNAL_ACCEPTED => Signal::Accepted,
        SAPWOOD_SIGNAL_COPIED => Signal::Copied { whole: true },
        SAPWOOD_SIGNAL_COPIED_PART => Signal::Copied { whole: false },
        SAPWOOD_SIGNAL_RATED_GOOD => Signal::Rated { good: true },
        SAPWOOD_SIGNAL_RATED_BAD => Signal::Rated { good: false },
        SAPWOOD_SIGNAL_REGENERATED => Signal::Regenerated { new_reply: told()? },
        SAPWOOD_SIGNAL_STOPPED => Signal::Stopped { shown_tokens },
        SAPWOOD_SIGNAL_REPHRASED => Signal::Rephrased { new_reply: told()? },
        SAPWOOD_SIGNAL_ABANDONED => Signal::Abandoned,
        SAPWOOD_SIGNAL_EDITED_PRIVATELY => Signal::EditedPrivately,
        _ => return Err(LearnerError::invalid("kind is none of SAPWOOD_SIGNAL_")),
    })
}

/// Nobody asked the user yet: nothing is stored.
pub const SAPWOOD_CONSENT_UNASKED: u32 = 0;
/// Replies and signals are stored, sealed, on this device.
pub const SAPWOOD_CONSENT_GRANTED: u32 = 1;
/// Nothing is stored, shown to the model, or trained on, and the base model answers.
pub const SAPWOOD_CONSENT_REFUSED: u32 = 2;

/// Allows or stops keeping what the user does, and using what was kept and learned: one of
/// SAPWOOD_CONSENT_. Durable when it returns; a refusal holds at once, also where the disk has no
/// room to write it.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_set_consent(learner: Option<&sapwood_learner>, consent: u32) -> i32 {
    status(|| {
        let consent = match consent {
            SAPWOOD_CONSENT_UNASKED => Consent::Unasked,
            SAPWOOD_CONSENT_GRANTED => Consent::Granted,
            SAPWOOD_CONSENT_REFUSED => Consent::Refused,
            _ => return Err(LearnerError::invalid("consent is none of SAPWOOD_CONSENT_")),
        };
        given(learner, "learner")?.0.set_consent(consent)
    })
}

/// Whether what the user does is kept: one of SAPWOOD_CONSENT_.
// SAFETY: no pointer but the handle and the result is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_consent(
    learner: Option<&sapwood_learner>,
    consent: Option<&mut u32>,
) -> i32 {
    status(|| {
        let (learner, consent) = (given(learner, "learner")?, given(consent, "consent")?);
        *consent = consent_number(learner.0.consent()?);
        Ok(())
    })
}

pub(super) fn consent_number(consent: Consent) -> u32 {
    match consent {
        Consent::Unasked => SAPWOOD_CONSENT_UNASKED,
        Consent::Granted => SAPWOOD_CONSENT_GRANTED,
        Consent::Refused => SAPWOOD_CONSENT_REFUSED,
    }
}

/// Tells how the device is: at every change, from any thread. It trains only when the device is
/// plugged in, idle and cool.
// SAFETY: `state` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_device_changed(
    learner: Option<&sapwood_learner>,
    state: *const sapwood_device_state,
) -> i32 {
    status(|| {
        // SAFETY: the caller's promise.
        let state = unsafe { device(state) }?;
        given(learner, "learner")?.0.device_changed(state)
    })
}

/// Switches the showing of past exchanges on (not 0) or off for all later replies.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_set_retrieval(learner: Option<&sapwood_learner>, enabled: u32) -> i32 {
    status(|| given(learner, "learner")?.0.set_retrieval(enabled != 0))
}

/// Says that the last process ended for a reason that was not the adapter's fault: its interrupted
/// trial is then not counted.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_exit_was_benign(learner: Option<&sapwood_learner>) -> i32 {
    status(|| given(learner, "learner")?.0.exit_was_benign())
}

/// Says that the program stays with this model: adapters of other ones, which were laid to rest
/// when it came, are deleted.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_confirm_base(learner: Option<&sapwood_learner>) -> i32 {
    status(|| given(learner, "learner")?.0.confirm_base())
}

/// Makes everything durable.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_flush(learner: Option<&sapwood_learner>) -> i32 {
    status(|| given(learner, "learner")?.0.flush())
}
