//! Bringing a model into the program's own folder.

use std::ffi::c_char;

use super::memory::{give_text, given, text};
use super::status::status;
use crate::error::LearnerError;
use crate::import::{Take, import_model};

/// Under a second name for the same bytes, which takes no room: for a file that the program itself
/// has downloaded. It is read-only then under its old name too. Where that can't be, it is copied.
pub const SAPWOOD_TAKE_LINK: u32 = 0;
/// By copying it: for a file that belongs to somebody else.
pub const SAPWOOD_TAKE_COPY: u32 = 1;

/// Brings the GGUF file at `source` into `folder` (a folder for models alone), named by its digest,
/// read-only, durable when this returns. `take` is one of SAPWOOD_TAKE_. It is read whole, so this
/// takes a while. What is there already is left alone if it is whole. `path` gets what
/// sapwood_config.model should say; give it back with `sapwood_string_free`. Opening it later
/// notices whether anybody has written to it.
// SAFETY: texts end with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_import_model(
    source: *const c_char,
    folder: *const c_char,
    take: u32,
    path: Option<&mut *mut c_char>,
) -> i32 {
    status(|| {
        let path = given(path, "path")?;
        let take = match take {
            SAPWOOD_TAKE_LINK => Take::Link,
            SAPWOOD_TAKE_COPY => Take::Copy,
            _ => return Err(LearnerError::invalid("take is none of SAPWOOD_TAKE_")),
        };
        // SAFETY: the caller's promise.
        let (source, folder) = unsafe { (text(source, "source")?, text(folder, "folder")?) };
        *path = give_text(&import_model(source, folder, take)?.path);
        Ok(())
    })
}
