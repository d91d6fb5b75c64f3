//! Gemma 3, text: five sliding-window layers, then a global one; norms before and after.
//!
//! The model normalizes with `x (1 + w)`; converters add the one to the stored weight, so that
//! the norm here is the ordinary one. The published figures are those of Google's
//! `gemma_pytorch` configurations.

use sapwood_kernels::Activation;

use super::keys::Keys;
use super::{Arch, ArchError, Sliding};

/// Base of the sliding layers' rotation, where the file does not say.
const LOCAL_BASE: f32 = 10_000.0;
/// One layer of that many is global, where the file does not say.
const PERIOD: usize = 6;
/// The 27B model scales its queries by the width per head instead of the head's own width; no
/// key says so, and only its number of layers tells it apart.
const LAYERS_27B: usize = 62;

pub(super) fn fill(keys: &Keys, arch: &mut Arch) -> Result<(), ArchError> {
    arch.activation = Activation::GeluTanh;
    arch.qk_norm = true;
    arch.post_norms = true;
    arch.embed_scale = (arch.width as f32).sqrt();
    if arch.layers == LAYERS_27B {
        arch.attention_scale = 1.0 / ((arch.width / arch.heads) as f32).sqrt();
    }
    // Without the key, the default of the other architectures would be silently wrong.
    let base = "gemma3.rope.freq_base";
    keys.gguf.f32(base)?;
    if keys.opt_positive("final_logit_softcapping")?.is_some() {
        return Err(keys.unsupported("final_logit_softcapping", "soft-capped logits"));
    }
    let window = keys.opt_count("attention.sliding_window", 0..=1 << 24)?.unwrap_or(0);
    if window > 0 {
        let period = keys.opt_count("attention.sliding_window_pattern", 1..=512)?;
        arch.sliding = Some(Sliding { window, period: period.unwrap_or(PERIOD) });
        let local = keys.opt_positive("rope.freq_base_swa")?;
        arch.rope.local_base = Some(local.unwrap_or(LOCAL_BASE));
    }
    Ok(())
}
