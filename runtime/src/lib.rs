//! A language model that learns from its user, on the device.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod disk;
pub mod journal;
pub mod learn;
pub mod memory;
pub mod rng;
pub mod sample;
pub mod seal;
pub mod signal;
pub mod store;
pub mod verify;
