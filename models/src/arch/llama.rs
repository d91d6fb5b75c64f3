//! Llama 2 and 3, and what is converted as such: SmolLM2, Mistral, TinyLlama.

use sapwood_kernels::RopeStyle;

use super::keys::Keys;
use super::{Arch, ArchError};

/// Converters store the rows of Q and K permuted, so that pairs which turn together are
/// adjacent. Llama 3.1 and later divide each frequency by a factor of its own; converters
/// compute the factors into a tensor.
pub(super) fn fill(keys: &Keys, arch: &mut Arch) -> Result<(), ArchError> {
    arch.rope.style = RopeStyle::Interleaved;
    arch.rope.factors = keys.gguf.tensor("rope_freqs.weight").is_some();
    arch.qkv_bias = keys.gguf.tensor("blk.0.attn_q.bias").is_some();
    Ok(())
}
