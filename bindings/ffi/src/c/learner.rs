//! The learner.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sapwood_models::Stop;

use super::config::{config, device, sapwood_config, sapwood_device_state};
use super::memory::{Sized32, copy_text, fill, give_text, given, sapwood_string_free, text, write};
use super::status::status;
use crate::adapter::{AdapterInfo, AdapterState};
use crate::chat::Role;
use crate::device::StopToken;
use crate::error::LearnerError;
use crate::forget::Scope;
use crate::id;
use crate::learner::Learner;
use crate::signal::{Consent, Sample, Signal};
use crate::slice::{Hold, Outcome, SliceReport};

/// A model that learns from its user: one per folder.
pub struct sapwood_learner(pub(super) Arc<Learner>);

/// Asks a slice or a reply to end early. One may serve many.
pub struct sapwood_stop(Arc<StopToken>);

impl sapwood_stop {
    pub(super) fn stop(&self) -> Stop {
        self.0.stop.clone()
    }
}

/// Opens the model and the folder, recovers from whatever happened to the last process, and puts
/// the right adapter in force. End it with `sapwood_close`.
// SAFETY: structs are as large as they say, texts end with NUL, the key has 32 bytes.
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
        let told = || unsafe { self::text(text, "text") };
        let signal = match kind {
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
            _ => return Err(LearnerError::invalid("kind is none of SAPWOOD_SIGNAL_")),
        };
        // SAFETY: the caller's promise.
        let reply_id = unsafe { self::text(reply_id, "reply_id") }?;
        learner.0.signal(reply_id, signal)
    })
}

/// Nobody asked the user yet: nothing is stored.
pub const SAPWOOD_CONSENT_UNASKED: u32 = 0;
/// Replies and signals are stored, sealed, on this device.
pub const SAPWOOD_CONSENT_GRANTED: u32 = 1;
/// Nothing is stored.
pub const SAPWOOD_CONSENT_REFUSED: u32 = 2;

/// Allows or stops keeping what the user does: one of SAPWOOD_CONSENT_. Durable when it returns.
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
        *consent = match learner.0.consent()? {
            Consent::Unasked => SAPWOOD_CONSENT_UNASKED,
            Consent::Granted => SAPWOOD_CONSENT_GRANTED,
            Consent::Refused => SAPWOOD_CONSENT_REFUSED,
        };
        Ok(())
    })
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

/// A request that nobody has made yet. Give it back with `sapwood_stop_free`.
// SAFETY: no pointer is taken.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_stop_new() -> *mut sapwood_stop {
    Box::into_raw(Box::new(sapwood_stop(StopToken::new())))
}

/// Asks for the stop, from any thread. It can't be taken back.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_stop_request(stop: Option<&sapwood_stop>) -> i32 {
    status(|| {
        given(stop, "stop")?.0.request();
        Ok(())
    })
}

/// Gives a stop back; a slice or a reply that still has it goes on. NULL is no stop.
// SAFETY: `stop` came from `sapwood_stop_new` and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_stop_free(stop: *mut sapwood_stop) {
    if !stop.is_null() {
        // SAFETY: made by `sapwood_stop_new`.
        drop(unsafe { Box::from_raw(stop) });
    }
}

/// Nothing was done; `holds` says why.
pub const SAPWOOD_OUTCOME_WAITING: u32 = 0;
/// The next slice goes on. With no `holds`, time was over or a stop was asked for; otherwise the
/// device ended it.
pub const SAPWOOD_OUTCOME_PAUSED: u32 = 1;
/// A new adapter is in force, on probation.
pub const SAPWOOD_OUTCOME_PROMOTED: u32 = 2;
/// A new adapter was made and was not good enough.
pub const SAPWOOD_OUTCOME_REJECTED: u32 = 3;

/// Nothing fails more often than usual.
pub const SAPWOOD_HOLD_NO_NEED: u32 = 1 << 0;
/// Too little to learn from.
pub const SAPWOOD_HOLD_FEW_EXAMPLES: u32 = 1 << 1;
/// The examples come from too few conversations.
pub const SAPWOOD_HOLD_FEW_CONVERSATIONS: u32 = 1 << 2;
/// It trained a short while ago.
pub const SAPWOOD_HOLD_COOLDOWN: u32 = 1 << 3;
/// Not on external power.
pub const SAPWOOD_HOLD_NOT_CHARGING: u32 = 1 << 4;
/// Somebody is using the device.
pub const SAPWOOD_HOLD_IN_USE: u32 = 1 << 5;
/// Too little charge.
pub const SAPWOOD_HOLD_LOW_BATTERY: u32 = 1 << 6;
/// The user asked the system to save power.
pub const SAPWOOD_HOLD_LOW_POWER_MODE: u32 = 1 << 7;
/// The device is hot.
pub const SAPWOOD_HOLD_TOO_HOT: u32 = 1 << 8;
/// Training takes more memory than there is for it.
pub const SAPWOOD_HOLD_TOO_LITTLE_MEMORY: u32 = 1 << 9;
/// The last slices were killed: it waits longer each time.
pub const SAPWOOD_HOLD_AFTER_KILLS: u32 = 1 << 10;

fn bit(hold: Hold) -> u32 {
    match hold {
        Hold::NoNeed => SAPWOOD_HOLD_NO_NEED,
        Hold::FewExamples => SAPWOOD_HOLD_FEW_EXAMPLES,
        Hold::FewConversations => SAPWOOD_HOLD_FEW_CONVERSATIONS,
        Hold::Cooldown => SAPWOOD_HOLD_COOLDOWN,
        Hold::NotCharging => SAPWOOD_HOLD_NOT_CHARGING,
        Hold::InUse => SAPWOOD_HOLD_IN_USE,
        Hold::LowBattery => SAPWOOD_HOLD_LOW_BATTERY,
        Hold::LowPowerMode => SAPWOOD_HOLD_LOW_POWER_MODE,
        Hold::TooHot => SAPWOOD_HOLD_TOO_HOT,
        Hold::TooLittleMemory => SAPWOOD_HOLD_TOO_LITTLE_MEMORY,
        Hold::AfterKills => SAPWOOD_HOLD_AFTER_KILLS,
    }
}

/// What a slice did. Set `size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_slice_report {
    /// sizeof(sapwood_slice_report)
    pub size: u32,
    /// What it came to: one of SAPWOOD_OUTCOME_.
    pub outcome: u32,
    /// What speaks against training: SAPWOOD_HOLD_ bits.
    pub holds: u32,
    /// Updates that the run has made, in all slices.
    pub step: u32,
    /// Updates that the run takes.
    pub steps: u32,
    /// Examples that the run learns from.
    pub examples: u32,
    /// Tokens trained on in this slice.
    pub tokens: u64,
    /// Milliseconds spent training in this slice.
    pub train_ms: u64,
    /// Mean loss of the last update; 0 before the first.
    pub loss: f32,
    /// The adapter that was promoted, or empty.
    pub adapter: [c_char; 65],
    /// What it came to, in one English line with figures, for logs and developers.
    pub summary: [c_char; 256],
}

// SAFETY: numbers and characters behind the size.
unsafe impl Sized32 for sapwood_slice_report {}

/// Trains for at most `budget_ms`, or judges the run that has ended: the only call that trains.
/// Returns early when there is nothing to do or when `stop` (may be NULL) is requested. Replies go
/// on meanwhile, from other threads. Whatever happens to the process, the next slice goes on from
/// the last checkpoint. `report` may be NULL.
// SAFETY: `report` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_train_slice(
    learner: Option<&sapwood_learner>,
    budget_ms: u64,
    stop: Option<&sapwood_stop>,
    report: *mut sapwood_slice_report,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        let stop = stop.map(|stop| stop.0.clone());
        let done = learner.0.train_slice(Duration::from_millis(budget_ms), stop)?;
        if report.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { write(&slice_report(&done), report, "sapwood_slice_report") }
    })
}

fn slice_report(done: &SliceReport) -> sapwood_slice_report {
    let mut report = sapwood_slice_report {
        size: 0,
        outcome: 0,
        holds: 0,
        step: done.step,
        steps: done.steps,
        examples: done.examples,
        tokens: done.tokens,
        train_ms: done.train_time.as_millis() as u64,
        loss: done.losses.last().copied().unwrap_or_default(),
        adapter: [0; 65],
        summary: [0; 256],
    };
    fill(&mut report.summary, &done.summary);
    report.outcome = match &done.outcome {
        Outcome::Waiting { holds } => {
            report.holds = holds.iter().fold(0, |bits, hold| bits | bit(*hold));
            SAPWOOD_OUTCOME_WAITING
        }
        Outcome::Paused { holds } => {
            report.holds = holds.iter().fold(0, |bits, hold| bits | bit(*hold));
            SAPWOOD_OUTCOME_PAUSED
        }
        Outcome::Promoted { adapter } => {
            fill(&mut report.adapter, adapter);
            SAPWOOD_OUTCOME_PROMOTED
        }
        Outcome::Rejected => SAPWOOD_OUTCOME_REJECTED,
    };
    report
}

/// Kept and checked, not in use.
pub const SAPWOOD_ADAPTER_STAGED: u32 = 0;
/// In use on trial: it is taken back when replies get worse.
pub const SAPWOOD_ADAPTER_PROBATION: u32 = 1;
/// In use.
pub const SAPWOOD_ADAPTER_ACTIVE: u32 = 2;
/// What was in use before: the way back.
pub const SAPWOOD_ADAPTER_FALLBACK: u32 = 3;
/// Given up for a better one.
pub const SAPWOOD_ADAPTER_RETIRED: u32 = 4;
/// Taken back for good.
pub const SAPWOOD_ADAPTER_ROLLED_BACK: u32 = 5;
/// Taken back because what it learned from is to be forgotten.
pub const SAPWOOD_ADAPTER_REVOKED: u32 = 6;
/// Made for another model, and back when that one is.
pub const SAPWOOD_ADAPTER_DORMANT: u32 = 7;

/// One adapter.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_adapter_info {
    /// The size of this struct in the library.
    pub size: u32,
    /// Where it stands: one of SAPWOOD_ADAPTER_.
    pub state: u32,
    /// Counted from 1 in this store.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Examples that it learned from.
    pub examples: u32,
    /// 1: new replies are made with it.
    pub in_force: u32,
    /// SHA-256 of its file, which names it everywhere.
    pub adapter: [c_char; 65],
    /// The adapter that training started from; empty: from the base model.
    pub parent: [c_char; 65],
}

/// Takes one adapter; it is gone when this returns. Any value but 0 ends the listing.
// SAFETY: whoever passes it vouches that it may be called with the `user` passed beside it.
pub type sapwood_on_adapter =
    Option<unsafe extern "C" fn(adapter: *const sapwood_adapter_info, user: *mut c_void) -> i32>;

/// Hands all adapters known to `on_adapter`, oldest first, with those that are gone.
// SAFETY: `on_adapter` may be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_adapters(
    learner: Option<&sapwood_learner>,
    on_adapter: sapwood_on_adapter,
    user: *mut c_void,
) -> i32 {
    status(|| {
        let (learner, on_adapter) = (given(learner, "learner")?, given(on_adapter, "on_adapter")?);
        for known in learner.0.adapters()? {
            // SAFETY: the caller's own function.
            if unsafe { on_adapter(&adapter_info(&known), user) } != 0 {
                break;
            }
        }
        Ok(())
    })
}

fn adapter_info(known: &AdapterInfo) -> sapwood_adapter_info {
    let created = known.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut info = sapwood_adapter_info {
        size: size_of::<sapwood_adapter_info>() as u32,
        state: match known.state {
            AdapterState::Staged => SAPWOOD_ADAPTER_STAGED,
            AdapterState::Probation => SAPWOOD_ADAPTER_PROBATION,
            AdapterState::Active => SAPWOOD_ADAPTER_ACTIVE,
            AdapterState::Fallback => SAPWOOD_ADAPTER_FALLBACK,
            AdapterState::Retired => SAPWOOD_ADAPTER_RETIRED,
            AdapterState::RolledBack => SAPWOOD_ADAPTER_ROLLED_BACK,
            AdapterState::Revoked => SAPWOOD_ADAPTER_REVOKED,
            AdapterState::Dormant => SAPWOOD_ADAPTER_DORMANT,
        },
        number: known.number,
        created_ms: created.as_millis() as u64,
        examples: known.examples,
        in_force: u32::from(known.in_force),
        adapter: [0; 65],
        parent: [0; 65],
    };
    fill(&mut info.adapter, &known.adapter);
    fill(&mut info.parent, known.parent.as_deref().unwrap_or_default());
    info
}

/// Keeps an adapter file (GGUF, made for this model elsewhere) without using it. `adapter` has room
/// for 65 characters and gets its digest.
// SAFETY: `file` has `length` bytes, `adapter` has room for 65.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_stage(
    learner: Option<&sapwood_learner>,
    file: *const u8,
    length: usize,
    adapter: *mut c_char,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        if file.is_null() || adapter.is_null() {
            return Err(LearnerError::invalid("file or adapter is NULL"));
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(file, length) };
        let digest = learner.0.stage(bytes.to_vec())?;
        // SAFETY: the caller's promise.
        unsafe { copy_text(&digest, adapter, 65) };
        Ok(())
    })
}

/// Puts a staged adapter in force on probation.
// SAFETY: `adapter` ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_activate(
    learner: Option<&sapwood_learner>,
    adapter: *const c_char,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        learner.0.activate(unsafe { text(adapter, "adapter") }?)
    })
}

/// Takes the adapter in force back for good. `adapter` has room for 65 characters and gets its
/// digest; it may be NULL. The one before, or the base model, is in force from the next reply on.
// SAFETY: `adapter` is NULL or has room for 65 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_rollback(
    learner: Option<&sapwood_learner>,
    adapter: *mut c_char,
) -> i32 {
    status(|| {
        let digest = given(learner, "learner")?.0.rollback()?;
        // SAFETY: the caller's promise.
        unsafe { copy_text(&digest, adapter, 65) };
        Ok(())
    })
}

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
            in_force: [0; 65],
        };
        fill(&mut given.in_force, done.in_force.as_deref().unwrap_or_default());
        // SAFETY: the caller's promise.
        unsafe { write(&given, receipt, "sapwood_deletion_receipt") }
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

/// Makes everything durable.
// SAFETY: no pointer but the handle is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_flush(learner: Option<&sapwood_learner>) -> i32 {
    status(|| given(learner, "learner")?.0.flush())
}
