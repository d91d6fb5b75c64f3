//! The largest logits, found where they are: a few kilobytes are read instead of a row.

use std::sync::{Arc, PoisonError};

use super::exec::{Dispatch, Operand, Operands, Words};
use super::selftest::try_order;
use super::shader::{IMMEDIATE_BYTES, Kernel, SHARD};
use super::{Gpu, Storage};
use crate::program::Element;
use crate::top::merged;

impl Gpu {
    /// The `k` largest of `len` logits from element `first` on. Zeros if the device has failed.
    pub(crate) fn top(
        &self,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        k: usize,
    ) -> Vec<(u32, f32)> {
        try_order(self, Kernel::Top);
        self.top_untried(logits, first, len, k)
    }

    /// The id of the largest of `len` logits, from element `first` on, to element `at` of `ids`.
    pub(crate) fn argmax_into(
        &self,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        ids: &Arc<Storage>,
        at: usize,
    ) {
        try_order(self, Kernel::Argmax);
        self.argmax_untried(logits, first, len, ids, at);
    }

    pub(super) fn top_untried(
        &self,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        k: usize,
    ) -> Vec<(u32, f32)> {
        let shards = len.div_ceil(SHARD);
        // Held until what was found is read.
        let mut kept = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let room = 2 * shards * k;
        if kept.as_ref().is_none_or(|(most, _)| *most < room) {
            *kept = Some((room, self.zeroed(&[(room, 1)], Element::Id).remove(0)));
        }
        let (_, found) = kept.as_ref().expect("just made");
        let grid = [shards as u32, 1, 1];
        self.over_row(Kernel::Top, [logits, found], [first, len, k], grid);
        let mut words = vec![[0_u32; 2]; shards * k];
        self.read_ids(found, 0, words.as_flattened_mut());
        match self.fault() {
            None => merged(&words, k),
            Some(_) => vec![(0, 0.0); k],
        }
    }

    pub(super) fn argmax_untried(
        &self,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        ids: &Arc<Storage>,
        at: usize,
    ) {
        self.over_row(Kernel::Argmax, [logits, ids], [first, len, at], [1, 1, 1]);
    }

    fn over_row(
        &self,
        kernel: Kernel,
        buffers: [&Arc<Storage>; 2],
        sizes: [usize; 3],
        grid: [u32; 3],
    ) {
        let context = &self.context;
        if self.fault().is_some() {
            return;
        }
        let mut operands = Operands::default();
        let mut words: Words = [0; IMMEDIATE_BYTES as usize / 4];
        for (number, operand) in operands[..2].iter_mut().enumerate() {
            *operand = Operand::Bound { number, panel: 0 };
        }
        words[..3].copy_from_slice(&sizes.map(|size| size as u32));
        let dispatch = Dispatch { kernel, operands, words, pos: None, grid };
        let pipeline = self.pipelines.get(context, kernel);
        let mut recorder = self.recorder();
        let storages = buffers.map(Arc::clone);
        let group = recorder.bind_group(context, &pipeline, &dispatch, &storages);
        recorder.dispatch(context, &pipeline, &group, &dispatch);
    }
}
