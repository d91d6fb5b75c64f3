//! Statuses, and the text that goes with them.

use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::memory::copy_text;
use crate::error::LearnerError;

/// Done.
pub const SAPWOOD_OK: i32 = 0;
/// The call was made with a value that it does not take: correct the program.
pub const SAPWOOD_INVALID: i32 = 1;
/// Prompt and reply don't fit the context.
pub const SAPWOOD_TOO_LONG: i32 = 2;
/// No reply or adapter has this id any more, or there is nothing to go back to.
pub const SAPWOOD_NOT_FOUND: i32 = 3;
/// Something else is under way, or the key store can't be used now: wait for it, or try again.
pub const SAPWOOD_BUSY: i32 = 4;
/// The model file can't be used.
pub const SAPWOOD_MODEL: i32 = 5;
/// The adapter can't be used: the model stays as it is.
pub const SAPWOOD_ADAPTER: i32 = 6;
/// The store was sealed with another key, its key is gone for good, or it is damaged throughout.
pub const SAPWOOD_KEY: i32 = 7;
/// The disk is full or failing, the folder can't be used, or a later version wrote it.
pub const SAPWOOD_STORAGE: i32 = 8;
/// A bug of the library: close the learner and open it again.
pub const SAPWOOD_FAULT: i32 = 9;

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does `work` and keeps its error, or that it panicked, for [`sapwood_last_error`].
pub(super) fn status(work: impl FnOnce() -> Result<(), LearnerError>) -> i32 {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(LearnerError::Fault));
    let Err(error) = done else { return SAPWOOD_OK };
    LAST_ERROR.with_borrow_mut(|text| *text = error.to_string());
    error.status()
}

/// Copies what went wrong in this thread's last failed call to `text`, NUL-terminated and cut to
/// `capacity` bytes. Returns the length of the whole text. `text` may be NULL if `capacity` is 0.
/// The text is English, for developers, and never holds anything of the user's.
// SAFETY: `text` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_last_error(text: *mut c_char, capacity: usize) -> usize {
    LAST_ERROR.with_borrow(|last| {
        // SAFETY: as above.
        unsafe { copy_text(last, text, capacity) };
        last.len()
    })
}
