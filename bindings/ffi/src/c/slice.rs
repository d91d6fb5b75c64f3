//! Slices of training, and stops.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use sapwood_models::Stop;

use super::learner::sapwood_learner;
use super::memory::{Sized32, fill, given, write};
use super::status::status;
use crate::device::StopToken;
use crate::slice::{Hold, Outcome, SliceReport};

/// Asks a slice or a reply to end early. One may serve many.
pub struct sapwood_stop(Arc<StopToken>);

impl sapwood_stop {
    pub(super) fn stop(&self) -> Stop {
        self.0.stop.clone()
    }
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
/// The user refused to be learned from.
pub const SAPWOOD_HOLD_REFUSED: u32 = 1 << 11;

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
        Hold::Refused => SAPWOOD_HOLD_REFUSED,
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
    /// Examples that the run can't learn from: too long for the context, or refused by the template.
    pub left_out: u32,
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
        left_out: done.left_out,
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
