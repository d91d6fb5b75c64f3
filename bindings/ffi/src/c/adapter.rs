//! Adapters: what was learned, and what was made elsewhere.

use std::ffi::{c_char, c_void};
use std::time::UNIX_EPOCH;

use super::learner::sapwood_learner;
use super::memory::{copy_text, fill, given, text};
use super::status::status;
use crate::adapter::{AdapterInfo, AdapterState};
use crate::error::LearnerError;

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

/// Refuses an adapter for good, in force or not, known here or not: the program's maker has heard
/// that it is bad.
// SAFETY: `adapter` ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_refuse(
    learner: Option<&sapwood_learner>,
    adapter: *const c_char,
) -> i32 {
    status(|| {
        let learner = given(learner, "learner")?;
        // SAFETY: the caller's promise.
        learner.0.refuse(unsafe { text(adapter, "adapter") }?)
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
