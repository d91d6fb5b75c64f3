//! The programs around the blocks: token embedding, logits, log-probabilities of given targets.

use sapwood_kernels::{Program, Quant, Slot};

use crate::arch::Arch;

/// ids (T) → activations (T, C).
pub(crate) struct Embed {
    pub program: Program,
    pub ids: Slot,
    pub table: Slot,
    pub out: Slot,
}

/// Looks tokens up in the embedding table.
pub(crate) fn embed(arch: &Arch, table: Quant) -> Embed {
    let mut p = Program::new();
    let ids = p.ids("ids");
    let table = p.weight("token_embd", arch.vocab, arch.width, table);
    let out = p.embed(ids, table, arch.embed_scale);
    p.output(out);
    Embed { program: p, ids, table, out }
}

/// Final norm and head on activations (T, C).
pub(crate) struct Head {
    pub program: Program,
    pub x: Slot,
    pub norm: Slot,
    pub head: Slot,
    /// Target id of each row, or [`sapwood_kernels::NO_TARGET`]; absent for plain logits.
    pub targets: Option<Slot>,
    /// Gradient of each row's log-probability (T, 1); only in the backward program.
    pub seed: Option<Slot>,
    /// Logits (T, V), log-probabilities (T, 1), or the gradient of `x` (T, C).
    pub out: Slot,
}

/// What the head yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HeadMode {
    /// (T, V)
    Logits,
    /// (T, 1): log-probability of each row's target.
    Score,
    /// (T, C): gradient of `x` for given gradients of the log-probabilities.
    Backward,
}

/// Builds the head for `mode`.
pub(crate) fn head(arch: &Arch, quant: Quant, mode: HeadMode) -> Head {
    let mut p = Program::new();
    let x = p.input("x", arch.width);
    let norm = p.weight("output_norm", 1, arch.width, Quant::F32);
    let weight = p.weight("output", arch.vocab, arch.width, quant);
    let h = p.rms_norm(x, norm, arch.norm_eps);
    let (out, targets, seed) = if mode == HeadMode::Logits {
        (p.linear(h, weight, None, None), None, None)
    } else {
        let targets = p.ids("targets");
        let logp = p.head_logp(h, weight, targets);
        if mode == HeadMode::Score {
            (logp, Some(targets), None)
        } else {
            let seed = p.input("gradient", 1);
            let dx = p.grad(logp, seed, &[x])[0];
            (dx, Some(targets), Some(seed))
        }
    };
    p.output(out);
    Head { program: p, x, norm, head: weight, targets, seed, out }
}
