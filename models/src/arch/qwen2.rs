//! Qwen2 and Qwen2.5: biases on Q, K and V.

use super::keys::Keys;
use super::{Arch, ArchError};

pub(super) fn fill(_: &Keys, arch: &mut Arch) -> Result<(), ArchError> {
    arch.qkv_bias = true;
    Ok(())
}
