//! Programs of tensor ops on quantized weights, and the devices that run them.
//!
//! A model function builds a [`Program`]: a list of coarse [`Op`]s over write-once
//! two-dimensional slots. [`Program::grad`] appends the steps of its gradient. A [`Device`]
//! compiles the whole program once and runs it many times with other [`Buffer`]s bound.
//!
//! Legend, used throughout: T tokens, C model width, I/O in and out width of a linear, F
//! feed-forward width, H heads, G key-value heads, D head width, V vocabulary, R LoRA rank.
//! Everything is two-dimensional and row-major; activations are f32.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cpu;
pub mod dual;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod quant;
pub mod reference;
pub mod rng;

mod bind;
mod buffer;
mod device;
mod fault;
mod grad;
mod layout;
mod op;
mod plan;
mod program;
mod top;
mod types;

pub use buffer::Buffer;
pub use cpu::Cpu;
pub use device::{Bindings, Chosen, Device, Exec};
pub use fault::DeviceError;
#[cfg(feature = "gpu")]
pub use gpu::{Gpu, GpuChoice, Products, Sharing};
pub use op::{Activation, Attention, Lora, NO_TARGET, Op, Rope, RopeStyle, Step};
pub use program::Program;
pub use quant::Quant;
pub use types::{Cursor, Desc, Element, Role, Rows, SharedBytes, Slot, WeightSource};
