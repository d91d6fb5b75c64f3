//! Programs of tensor ops on quantized weights, and the devices that run them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod quant;
