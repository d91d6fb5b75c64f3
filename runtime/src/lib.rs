//! A language model that learns from its user, on the device.

pub mod signal;
