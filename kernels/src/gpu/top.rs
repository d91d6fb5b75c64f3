//! The largest logits, found where they are: a few kilobytes are read instead of a row, and of one
//! that is chosen eight bytes, when somebody wants them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::exec::{Dispatch, Operand, Operands, Words};
use super::reading::{Reading, landing};
use super::recorder::Recorder;
use super::selftest::try_order;
use super::shader::{IMMEDIATE_BYTES, Kernel, SHARD};
use super::{Gpu, Storage};
use crate::program::Element;
use crate::top::merged;

/// Where kernels leave words for the host, and for how many there is room.
pub(super) type Found = Option<(usize, Arc<Storage>)>;

/// A logit that was chosen, on its way to the host.
pub(crate) struct Chosen {
    gpu: Arc<Gpu>,
    /// `None` if the device had failed before.
    reading: Option<Reading>,
}

impl Chosen {
    /// Waits for it, and for nothing behind it. Zeros if the device has failed.
    pub(crate) fn wait(self) -> (u32, f32) {
        let Chosen { gpu, reading } = self;
        gpu.reads.fetch_add(1, Ordering::Relaxed);
        let mut words = [[0_u32; 2]];
        let bytes = bytemuck::cast_slice_mut(words.as_flattened_mut());
        let read = reading.is_some_and(|reading| reading.finish(&gpu.context, bytes));
        if read { merged(&words, 1)[0] } else { (0, 0.0) }
    }
}

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

    /// The id of the largest of `len` logits, from element `first` on, to element `at` of `ids`, and
    /// with its logit on its way to the host. All that was recorded goes to the GPU.
    pub(crate) fn argmax_into(
        self: &Arc<Gpu>,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        ids: &Arc<Storage>,
        at: usize,
    ) -> Chosen {
        try_order(self, Kernel::Argmax);
        let nothing = Chosen { gpu: self.clone(), reading: None };
        if self.fault().is_some() {
            return nothing;
        }
        let context = &self.context;
        let mut kept = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.room(&mut kept, 2);
        let landing = landing(context, 8);
        // Nobody else's choice comes between these.
        let mut recorder = self.recorder();
        let sizes = [first, len, 0];
        self.over_row(&mut recorder, Kernel::Argmax, [logits, &found], sizes, [1, 1, 1]);
        recorder.copy(context, found.at(0), ids.at(4 * at as u64), 4);
        recorder.copy(context, found.at(0), (&landing, 0), 8);
        match recorder.submit(context) {
            Some(submission) => {
                Chosen { reading: Some(Reading::of(landing, submission)), ..nothing }
            }
            None => nothing,
        }
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
        let found = self.room(&mut kept, 2 * shards * k);
        let (buffers, grid) = ([logits, &found], [shards as u32, 1, 1]);
        self.over_row(&mut self.recorder(), Kernel::Top, buffers, [first, len, k], grid);
        let mut words = vec![[0_u32; 2]; shards * k];
        self.read_ids(&found, 0, words.as_flattened_mut());
        match self.fault() {
            None => merged(&words, k),
            Some(_) => vec![(0, 0.0); k],
        }
    }

    /// Id and key of the largest, to the elements from `at` on of `found`.
    pub(super) fn argmax_untried(
        &self,
        logits: &Arc<Storage>,
        first: usize,
        len: usize,
        found: &Arc<Storage>,
        at: usize,
    ) {
        let (buffers, sizes) = ([logits, found], [first, len, at]);
        self.over_row(&mut self.recorder(), Kernel::Argmax, buffers, sizes, [1, 1, 1]);
    }

    /// Room for so many words, as long as `kept` is locked.
    fn room(&self, kept: &mut MutexGuard<'_, Found>, words: usize) -> Arc<Storage> {
        match &**kept {
            Some((most, found)) if *most >= words => found.clone(),
            _ => {
                let found = self.zeroed(&[(words, 1)], Element::Id).remove(0);
                **kept = Some((words, found.clone()));
                found
            }
        }
    }

    fn over_row(
        &self,
        recorder: &mut Recorder,
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
        let storages = buffers.map(Arc::clone);
        let group = recorder.bind_group(context, &pipeline, &dispatch, &storages);
        recorder.dispatch(context, &pipeline, &group, &dispatch);
    }
}
