//! What a KV cache holds, apart from the keys and values themselves: for which tokens, and made
//! under which adapter. Small and on its own, so that `tests/loom` can explore the very code that
//! keeps one adapter's keys from another.

use crate::adapter::Digest;

/// The tokens of a cache, oldest first, all computed under one adapter.
#[derive(Default)]
pub(crate) struct Held {
    ids: Vec<u32>,
    /// SHA-256 of the adapter; `None` is the bare base model.
    adapter: Option<Digest>,
}

impl Held {
    /// Nothing, with room for `capacity` tokens.
    pub fn new(capacity: usize) -> Held {
        Held { ids: Vec::with_capacity(capacity), adapter: None }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether tokens computed under `adapter` may follow. An empty cache becomes that adapter's.
    pub fn admits(&mut self, adapter: Option<Digest>) -> bool {
        if self.ids.is_empty() {
            self.adapter = adapter;
        }
        self.adapter == adapter
    }

    /// Takes in tokens that were computed under the adapter that was admitted.
    pub fn append(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
    }

    /// Forgets all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
    }

    /// As [`Held::truncate`], and returns them.
    pub fn split_off(&mut self, len: usize) -> Vec<u32> {
        self.ids.split_off(len)
    }

    /// Keeps the longest prefix shared with `ids` if it was made under `adapter`, forgets the
    /// rest, and returns its length: less than that of `ids`, so that one is left to compute.
    pub fn reuse(&mut self, adapter: Option<Digest>, ids: &[u32]) -> usize {
        if self.adapter != adapter {
            self.ids.clear();
            self.adapter = adapter;
        }
        let shared = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        self.ids.truncate(shared.min(ids.len().saturating_sub(1)));
        self.ids.len()
    }
}
