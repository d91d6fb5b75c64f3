//! Why a device can't compute, or has stopped.

use std::fmt;

/// Why there is no device, or why a device has stopped computing.
///
/// A device that has failed stays failed: its runs do nothing and its reads give zeros. So that no
/// such number is taken for a result, [`Device::fault`](crate::Device::fault) is asked after the
/// last read of a piece of work.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeviceError {
    /// No GPU that we can use.
    NoAdapter {
        /// What was found, and why it was not taken.
        found: String,
    },
    /// The GPU is gone: reset by its driver, unplugged, or taken by the system.
    Lost {
        /// What the driver says.
        why: String,
    },
    /// The GPU's memory is full.
    OutOfMemory,
    /// The GPU's driver refused what every driver should accept.
    Refused {
        /// What the driver says.
        why: String,
    },
    /// The host forbids the GPU for now.
    Forbidden,
    /// A kernel computes something else than the CPU on this GPU.
    SelfTest {
        /// The kernel; several where they are tried together.
        kernel: String,
        /// The largest difference from the definition, relative to the largest value.
        off_by: f32,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::NoAdapter { found } => {
                write!(f, "no GPU can be used ({found}): use the CPU")
            }
            DeviceError::Lost { why } => {
                write!(f, "the GPU was lost ({why}): open the model again, on the CPU if it recurs")
            }
            DeviceError::OutOfMemory => {
                write!(f, "the GPU's memory is full: use a smaller context or model, or the CPU")
            }
            DeviceError::Refused { why } => {
                write!(f, "the GPU's driver refused a command ({why}): use the CPU")
            }
            DeviceError::Forbidden => {
                write!(f, "the GPU may not be used now, as the app has said: use the CPU")
            }
            DeviceError::SelfTest { kernel, off_by } => {
                write!(
                    f,
                    "the GPU computes {kernel} wrongly (off by {off_by:.1e} of the largest value): \
                     update its driver, or use the CPU"
                )
            }
        }
    }
}

impl std::error::Error for DeviceError {}
