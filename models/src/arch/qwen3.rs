//! Qwen3 (dense): every head of Q and K is normalized before it turns.

use super::keys::Keys;
use super::{Arch, ArchError};

pub(super) fn fill(_: &Keys, arch: &mut Arch) -> Result<(), ArchError> {
    arch.qk_norm = true;
    Ok(())
}
