//! What is kept of the user: listed, forgotten, handed over.

use std::ffi::{c_char, c_void};
use std::time::UNIX_EPOCH;

use super::learner::sapwood_learner;
use super::memory::{Sized32, fill, give_text, given, sapwood_string_free, text, write};
use super::status::status;
use crate::chat::Role;
use crate::error::LearnerError;
use crate::export::Exported;
use crate::forget::{Erasure, Scope};
use crate::id;
use crate::signal::{Sample, Signal};

/// One reply that is kept, with what the user did. All texts are gone when the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_sample {
    /// The size of this struct in the library.
    pub size: u32,
    /// Signals that there are on it.
    pub signals: u32,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The part of the app.
    pub surface: *const c_char,
    /// What was asked: the last turn of the user.
    pub request: *const c_char,
    /// What the model answered.
    pub reply: *const c_char,
    /// What the user made of it; NULL: they did not edit it.
    pub edited: *const c_char,
    /// Names the reply.
    pub reply_id: [c_char; 33],
    /// Names the conversation.
    pub conversation: [c_char; 33],
    /// The adapter that answered; empty: the base model.
    pub adapter: [c_char; 65],
}

/// Takes one sample; it is gone when this returns. Any value but 0 ends the listing.
// SAFETY: as for `sapwood_on_adapter`.
pub type sapwood_on_sample =
    Option<unsafe extern "C" fn(sample: *const sapwood_sample, user: *mut c_void) -> i32>;

/// Hands all replies that are kept to `on_sample`, oldest first.
// SAFETY: `on_sample` may be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_samples(
    learner: Option<&sapwood_learner>,
    on_sample: sapwood_on_sample,
    user: *mut c_void,
) -> i32 {
    status(|| {
        let (learner, on_sample) = (given(learner, "learner")?, given(on_sample, "on_sample")?);
        for kept in learner.0.samples()? {
            let sample = sample(&kept);
            // SAFETY: the caller's own function; the texts live until the next lines, which free
            // what `give_text` made.
            let enough = unsafe {
                let enough = on_sample(&sample, user);
                for text in [sample.surface, sample.request, sample.reply, sample.edited] {
                    sapwood_string_free(text.cast_mut());
                }
                enough
            };
            if enough != 0 {
                break;
            }
        }
        Ok(())
    })
}

fn sample(kept: &Sample) -> sapwood_sample {
    let asked = kept.prompt.iter().rfind(|turn| turn.role == Role::User);
    let edited = kept.signals.iter().rev().find_map(|signal| match signal {
        Signal::Edited { text } => Some(text),
        _ => None,
    });
    let time = kept.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut sample = sapwood_sample {
        size: size_of::<sapwood_sample>() as u32,
        signals: kept.signals.len() as u32,
        time_ms: time.as_millis() as u64,
        surface: give_text(&kept.surface),
        request: give_text(asked.map_or("", |turn| &turn.content)),
        reply: give_text(&kept.reply),
        edited: edited.map_or(std::ptr::null_mut(), |text| give_text(text)),
        reply_id: [0; 33],
        conversation: [0; 33],
        adapter: [0; 65],
    };
    fill(&mut sample.reply_id, &kept.reply_id);
    fill(&mut sample.conversation, &kept.conversation);
    fill(&mut sample.adapter, kept.adapter.as_deref().unwrap_or_default());
    sample
}

/// One reply with its request and signals: `name` is its id.
pub const SAPWOOD_SCOPE_REPLY: u32 = 0;
/// A conversation: `name` is as in sapwood_sample.
pub const SAPWOOD_SCOPE_CONVERSATION: u32 = 1;
/// All that happened in one part of the app: `name` is its name.
pub const SAPWOOD_SCOPE_SURFACE: u32 = 2;
/// All from `from_ms` on and before `until_ms`.
pub const SAPWOOD_SCOPE_TIME: u32 = 3;
/// Everything.
pub const SAPWOOD_SCOPE_EVERYTHING: u32 = 4;

/// The bytes are still there, sealed: the key store, the disk or another process stood in the way.
/// The next training slice or request to forget tries again.
pub const SAPWOOD_ERASURE_PENDING: u32 = 0;
/// The bytes were deleted. With the key or the passphrase of the configuration and old copies of the
/// folder they could be read. A sapwood_key_provider does better.
pub const SAPWOOD_ERASURE_DELETED: u32 = 1;
/// The key of the bytes was destroyed: copies of them are noise.
pub const SAPWOOD_ERASURE_SHREDDED: u32 = 2;

/// What was forgotten. Set `size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_deletion_receipt {
    /// sizeof(sapwood_deletion_receipt)
    pub size: u32,
    /// Replies that are gone, with their requests and signals.
    pub replies: u32,
    /// Adapters that learned from them, or from an adapter that did: gone, and refused for good.
    pub adapters: u32,
    /// 1: a training run was dropped.
    pub run_dropped: u32,
    /// One of SAPWOOD_ERASURE_.
    pub erasure: u32,
    /// The adapter that new replies are made with now; empty: the base model.
    pub in_force: [c_char; 65],
}

// SAFETY: numbers and characters behind the size.
unsafe impl Sized32 for sapwood_deletion_receipt {}

/// Forgets for good: replies, what the user did with them, every adapter that learned from one and
/// all that were trained on top of it, the training run that sees them. `scope` is one of
/// SAPWOOD_SCOPE_, which says whether `name` and the times (milliseconds since 1970) matter. It ends
/// a slice that is running. `receipt` may be NULL.
// SAFETY: `name` is NULL or ends with NUL, `receipt` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_forget(
    learner: Option<&sapwood_learner>,
    scope: u32,
    name: *const c_char,
    from_ms: u64,
    until_ms: u64,
    receipt: *mut sapwood_deletion_receipt,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        let name = || unsafe { text(name, "name") };
        let scope = match scope {
            SAPWOOD_SCOPE_REPLY => Scope::Reply { reply_id: name()? },
            SAPWOOD_SCOPE_CONVERSATION => Scope::Conversation { conversation: name()? },
            SAPWOOD_SCOPE_SURFACE => Scope::Surface { surface: name()? },
            SAPWOOD_SCOPE_TIME => {
                Scope::Time { from: id::instant(from_ms), until: id::instant(until_ms) }
            }
            SAPWOOD_SCOPE_EVERYTHING => Scope::Everything,
            _ => return Err(LearnerError::invalid("scope is none of SAPWOOD_SCOPE_")),
        };
        let done = learner.0.forget(scope)?;
        if receipt.is_null() {
            return Ok(());
        }
        let mut given = sapwood_deletion_receipt {
            size: 0,
            replies: done.replies.len() as u32,
            adapters: done.adapters.len() as u32,
            run_dropped: u32::from(done.run_dropped),
            erasure: match done.erasure {
                Erasure::Pending => SAPWOOD_ERASURE_PENDING,
                Erasure::Deleted => SAPWOOD_ERASURE_DELETED,
                Erasure::Shredded => SAPWOOD_ERASURE_SHREDDED,
            },
            in_force: [0; 65],
        };
        fill(&mut given.in_force, done.in_force.as_deref().unwrap_or_default());
        // SAFETY: the caller's promise.
        unsafe { write(&given, receipt, "sapwood_deletion_receipt") }
    })
}

/// What was exported. Set `size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_exported {
    /// sizeof(sapwood_exported)
    pub size: u32,
    /// Replies in turns.json.
    pub turns: u32,
    /// Files in adapters/.
    pub adapters: u32,
    /// Records that only a later version of the library can read; they are not among the turns.
    pub unreadable_records: u32,
}

// SAFETY: numbers behind the size.
unsafe impl Sized32 for sapwood_exported {}

/// Writes all that is kept into a new or empty folder, for the user to read: turns.json,
/// adapters.json and the adapters as GGUF files. Nothing in there is sealed: protect it, hand it
/// over, remove it. `exported` may be NULL.
// SAFETY: `folder` ends with NUL, `exported` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_export(
    learner: Option<&sapwood_learner>,
    folder: *const c_char,
    exported: *mut sapwood_exported,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        let done = learner.0.export_data(unsafe { text(folder, "folder") }?)?;
        if exported.is_null() {
            return Ok(());
        }
        let Exported { turns, adapters, unreadable_records } = done;
        let counted = sapwood_exported { size: 0, turns, adapters, unreadable_records };
        // SAFETY: the caller's promise.
        unsafe { write(&counted, exported, "sapwood_exported") }
    })
}
