//! Sapwood for Kotlin, Swift and Python (by uniffi) and for C.
//!
//! Translates between the runtime's types and those that every language has, and does nothing
//! else. What all calls have in common:
//!
//! * Every call blocks until its work is done, returns a `Result`, and may come from any thread.
//!   A façade moves it off the main thread.
//! * No panic gets out (see `fence`): the learner refuses every later call instead.
//! * Nothing of the caller's is ever called back but its `KeyProvider`, on the thread of the call:
//!   text is pulled with `Generation::next`, the device's state is pushed with
//!   `Learner::device_changed`.
//! * Identifiers are hexadecimal strings, instants and spans the language's own types.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter;
pub mod c;
mod capture;
mod chat;
mod config;
mod device;
mod error;
mod export;
mod fence;
mod forget;
mod id;
mod import;
mod keys;
mod learner;
mod signal;
mod slice;

uniffi::setup_scaffolding!();

/// The library's version, as `major.minor.patch`.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
