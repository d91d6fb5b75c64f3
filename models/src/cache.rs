//! The KV cache of one conversation.

mod held;

use sapwood_kernels::{Buffer, Device, Quant};

use crate::adapter::Digest;
use crate::arch::Arch;
use held::Held;

/// Keys and values of the tokens seen so far, and the adapter that they were made under.
///
/// K and V depend on every adapted linear before them, so entries made under one adapter mean
/// nothing under another: [`Cache::reuse`] forgets them, and no entry is ever read under another
/// digest.
pub struct Cache {
    pub(crate) held: Held,
    pub(crate) states: Vec<(Buffer, Buffer)>,
    pub(crate) scratch: Scratch,
    capacity: usize,
}

/// Activations between the programs of one step.
pub(crate) struct Scratch {
    /// Rows that fit.
    pub rows: usize,
    pub ids: Buffer,
    /// (rows, C) twice: each block reads one and writes the other.
    pub x: [Buffer; 2],
    /// (1, C): the row whose logits are wanted.
    pub last: Buffer,
    /// (1, V)
    pub logits: Buffer,
}

impl Scratch {
    fn new(arch: &Arch, device: &Device, rows: usize) -> Scratch {
        Scratch {
            rows,
            ids: device.ids(rows),
            x: [device.zeros(rows, arch.width), device.zeros(rows, arch.width)],
            last: device.zeros(1, arch.width),
            logits: device.zeros(1, arch.vocab),
        }
    }
}

/// Prompts are processed in pieces of this many tokens.
pub(crate) const PREFILL_TOKENS: usize = 512;

impl Cache {
    pub(crate) fn new(arch: &Arch, device: &Device, capacity: usize) -> Cache {
        let width = arch.kv_heads * arch.head_dim;
        let state = || device.state(capacity, width, Quant::F16);
        Cache {
            held: Held::new(capacity),
            states: (0..arch.layers).map(|_| (state(), state())).collect(),
            scratch: Scratch::new(arch, device, capacity.min(PREFILL_TOKENS)),
            capacity,
        }
    }

    /// Tokens that the cache holds.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.held.truncate(len);
    }

    /// Keeps the longest prefix that `ids` shares with the cached tokens under the same adapter,
    /// forgets the rest, and returns how many leading tokens of `ids` need not be computed again.
    /// At least one token is always left to compute, because its logits are wanted.
    pub fn reuse(&mut self, adapter: Option<Digest>, ids: &[u32]) -> usize {
        self.held.reuse(adapter, ids)
    }
}
