//! The C interface, from which `bindings/c/include/sapwood.h` is made.
//!
//! Conventions, which the head of the header states for its readers:
//!
//! * Every call returns a status; what went wrong is in the calling thread's last error.
//! * A handle is a pointer to something of ours; the caller gives it back with the matching
//!   `_close` or `_free`, once.
//! * A struct begins with its size, set by the caller. What an older caller does not know keeps its
//!   default; what a newer caller sets beyond what we know must be zero. So either side may be
//!   newer.
//! * Numbers stand where C has enumerations: any value may arrive, and is checked.

#![allow(non_camel_case_types, reason = "these are C's names")]
#![allow(clippy::missing_safety_doc, reason = "the head of the header is the contract")]

// In the order of the header: what everybody meets comes first.
pub(crate) mod status;

mod keys;

mod config;

mod import;

mod learner;

mod slice;

mod chat;

mod capture;

mod adapter;

mod kept;

mod memory;

/// Version of this interface. It changes only when a program compiled against an older header
/// would no longer work.
pub const SAPWOOD_ABI_VERSION: u32 = 1;

/// The library's SAPWOOD_ABI_VERSION: a program compares it with the header's at its start.
// SAFETY: no pointer is involved.
#[unsafe(no_mangle)]
pub extern "C" fn sapwood_abi_version() -> u32 {
    SAPWOOD_ABI_VERSION
}
