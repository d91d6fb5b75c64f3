//! A language model that learns from its user, on the device.
//!
//! ```text
//! ask ──► reply (names its adapter) ──► the user edits, accepts, rates, stops …  (Signal)
//!                 journal, sealed ◄──────┘
//!                    │ pure functions (`learn`)
//!                    ├──► retrieval memory: shown in the very next prompt
//!                    └──► trigger ─► training slices ─► gate ─► probation ─► active
//!                                                        └ rejected   └ rolled back
//! ```
//!
//! A [`Learner`] owns a model and a store. A [`Chat`] yields a [`Generation`], which ends with a
//! [`Reply`] that names the adapter it was made with. [`Learner::signal`] says what the user did
//! with a reply, and [`Learner::train_slice`] is the only call that trains. The library has no
//! clock, no network and no thread but the compute pool of its device.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter_set;
mod capture;
mod chat;
mod config;
mod consent;
mod crc;
mod device_state;
mod digest;
pub mod disk;
mod error;
mod export;
mod force;
mod foreground;
mod forget;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
pub mod journal;
mod kept;
pub mod learn;
mod learner;
mod ledger;
mod lineage;
mod measured;
pub mod memory;
mod notice;
pub mod placement;
pub mod policy;
mod prompt;
mod recall;
pub mod rng;
pub mod sample;
mod scope;
pub mod seal;
pub mod secret;
mod shared;
mod shred;
pub mod signal;
mod slice;
pub mod store;
mod swap;
pub mod time;
mod transcript;
pub mod vault;
pub mod verify;

pub use capture::{Capture, Shown};
pub use chat::{Chat, Event, Generation, Options, Reply};
pub use config::{Anchor, Clock, Config, Learning, Retention, Retrieval};
pub use consent::Consent;
pub use device_state::{DeviceState, Thermal};
pub use error::LearnerError;
pub use export::Exported;
pub use forget::DeletionReceipt;
pub use learner::Learner;
pub use prompt::{Prompt, Shot};
pub use scope::Scope;
pub use shred::Erasure;
pub use slice::{Budget, Outcome, SliceReport};
pub use transcript::Transcript;

/// How a [`Learner`] leaves an epoch, for tests that cut it short. Never in a normal build.
#[cfg(feature = "faults")]
pub mod steps {
    pub use crate::shred::{leave, settle, settle_at_opening};
}
