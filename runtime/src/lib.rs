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
//!
//! What stands on this page is the library. The modules are open to the command, the bindings, the
//! tests and the curious, and no promise is made about them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter_set;
mod capture;
mod chat;
mod config;
mod consent;
mod crc;
mod device_state;
mod digest;
#[doc(hidden)]
pub mod disk;
mod error;
mod export;
mod force;
mod foreground;
mod forget;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod journal;
mod kept;
#[doc(hidden)]
pub mod learn;
mod learner;
mod ledger;
mod lineage;
mod measured;
#[doc(hidden)]
pub mod memory;
mod notice;
#[doc(hidden)]
pub mod placement;
#[doc(hidden)]
pub mod policy;
mod prompt;
mod recall;
#[doc(hidden)]
pub mod rng;
#[doc(hidden)]
pub mod sample;
mod scope;
#[doc(hidden)]
pub mod seal;
#[doc(hidden)]
pub mod secret;
mod shared;
mod shred;
#[doc(hidden)]
pub mod signal;
mod slice;
#[doc(hidden)]
pub mod store;
mod swap;
#[doc(hidden)]
pub mod time;
mod transcript;
#[doc(hidden)]
pub mod vault;
#[doc(hidden)]
pub mod verify;

pub use capture::{Capture, Shown};
pub use chat::{Chat, Event, Generation, Options, Reply};
pub use config::{Anchor, Clock, Config, Learning, Retention, Retrieval};
pub use consent::Consent;
pub use device_state::{DeviceState, Thermal};
pub use digest::{Digest, hex};
pub use error::LearnerError;
pub use export::Exported;
pub use forget::DeletionReceipt;
pub use journal::StopReason;
pub use learn::batch::Mix;
pub use learn::example::Turn;
pub use learn::gate::{Thresholds, Verdict};
pub use learn::split::Shares;
pub use learn::train::TrainConfig;
pub use learn::trigger::{Decision, Hold, Rules as TriggerRules};
pub use learn::watch::Limits as WatchLimits;
pub use learner::Learner;
pub use policy::{Obstacle, Policy};
pub use prompt::{Prompt, Shot};
pub use sample::Sampling;
pub use scope::Scope;
pub use shred::Erasure;
pub use signal::{Part, Rating, Signal};
pub use slice::{Budget, Outcome, SliceReport};
pub use store::{
    Change, Event as AdapterEvent, Generation as AdapterGeneration, State as AdapterState,
};
pub use transcript::Transcript;
pub use vault::{HostKey, KeyError, KeyProvider, Passphrase};

/// How a [`Learner`] leaves an epoch, for tests that cut it short. Never in a normal build.
#[cfg(feature = "faults")]
pub mod steps {
    pub use crate::shred::{leave, settle, settle_at_opening};
}
