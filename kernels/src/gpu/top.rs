//! The largest logits, found where they are: a few kilobytes are read instead of a row, and of one
//! that is chosen eight bytes, when somebody wants them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::dispatch::{Dispatch, Operand, Operands, Words};
use super::reading::{Reading, landing};
use super::recorder::Recorder;
use super::selftest::value;
use super::shader::{IMMEDIATE_BYTES, Kernel, SHARD};
use super::storage::Storage;
use super::{Found, Gpu};
use crate::fault::DeviceError;
use crate::quant::Quant;
use crate::rng::SplitMix64;
use crate::top::{merged, top};
use crate::types::Element;

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

    fn top_untried(
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
    fn argmax_untried(
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

/// Tries a kernel that orders logits, which no program calls, when it is needed first.
fn try_order(gpu: &Gpu, kernel: Kernel) {
    let mut tried = gpu.tried.lock();
    if !tried.kernels.insert(kernel) {
        return;
    }
    let start = Instant::now();
    let mut random = SplitMix64(7);
    // More than a shard of them, and one that is no number.
    let mut row: Vec<f32> = (0..SHARD + 5).map(|_| value(&mut random)).collect();
    row[1] = f32::NAN;
    let logits = gpu.zeroed(&[(1, row.len())], Element::Value(Quant::F32)).remove(0);
    let chosen = gpu.zeroed(&[(2, 1)], Element::Id).remove(0);
    gpu.write(&logits, 0, &row);
    let expected = top(&row, 5);
    let right = if kernel == Kernel::Top {
        gpu.top_untried(&logits, 0, row.len(), 5) == expected
    } else {
        let mut words = [[u32::MAX; 2]];
        gpu.argmax_untried(&logits, 0, row.len(), &chosen, 0);
        gpu.read_ids(&chosen, 0, words.as_flattened_mut());
        gpu.fault().is_none() && merged(&words, 1)[0] == expected[0]
    };
    if !right {
        gpu.context.fail(DeviceError::SelfTest { kernel: kernel.name(), off_by: 1.0 });
    }
    tried.spent += start.elapsed();
}
