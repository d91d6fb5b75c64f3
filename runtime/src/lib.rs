//! A language model that learns from its user, on the device.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod rng;
pub mod sample;
pub mod signal;
pub mod verify;
