//! Generation: tokens in, logits out, through the KV cache.

use sapwood_kernels::Cursor;

use crate::adapter::Adapter;
use crate::block::Mode;
use crate::cache::{Cache, PREFILL_TOKENS};
use crate::error::ModelError;
use crate::head::HeadMode;
use crate::model::Model;
use crate::stop::Stop;

impl Model {
    /// An empty cache for at most `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Cache {
        Cache::new(&self.arch, &self.device, capacity)
    }

    /// Appends `ids` to the cached tokens and returns the logits (V) after the last one.
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::UnknownToken`], [`ModelError::ContextFull`], and
    /// [`ModelError::StaleCache`] if the cached tokens were computed under another adapter.
    pub fn step(
        &self,
        cache: &mut Cache,
        adapter: Option<&Adapter>,
        ids: &[u32],
    ) -> Result<Vec<f32>, ModelError> {
        self.advance(cache, adapter, ids, None)
    }

    /// As [`Model::step`], but looks at `stop` before every layer: for long prompts.
    ///
    /// # Errors
    /// As [`Model::step`], and [`ModelError::Stopped`]. The cache then holds the pieces of `ids`
    /// that were finished.
    pub fn step_unless_stopped(
        &self,
        cache: &mut Cache,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: &Stop,
    ) -> Result<Vec<f32>, ModelError> {
        self.advance(cache, adapter, ids, Some(stop))
    }

    fn advance(
        &self,
        cache: &mut Cache,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: Option<&Stop>,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_ids(ids)?;
        if !cache.held.admits(adapter.map(Adapter::digest)) {
            return Err(ModelError::StaleCache);
        }
        let needed = cache.len() + ids.len();
        if needed > cache.capacity() {
            return Err(ModelError::ContextFull { needed, capacity: cache.capacity() });
        }
        let mut last = 0;
        for piece in ids.chunks(PREFILL_TOKENS.min(cache.scratch.rows)) {
            last = self.step_piece(cache, adapter, piece, stop)?;
            cache.held.append(piece);
        }
        Ok(self.logits(cache, last))
    }

    fn step_piece(
        &self,
        cache: &Cache,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: Option<&Stop>,
    ) -> Result<usize, ModelError> {
        let scratch = &cache.scratch;
        let cursor = Cursor { pos: cache.len(), tokens: ids.len() };
        self.embed(ids, &scratch.ids, &scratch.x[0], cursor);
        for layer in 0..self.arch.layers {
            stop.map_or(Ok(()), Stop::check)?;
            let (x, out) = (&scratch.x[layer % 2], &scratch.x[(layer + 1) % 2]);
            let compiled =
                self.compiled_block(layer, adapter.map(Adapter::layout), Mode::Infer, ids.len());
            let (block, exec) = &*compiled;
            let mut bindings = self.bind_block(block, layer, adapter);
            bindings.push((block.x, x));
            bindings.push((block.out, out));
            let (k, v) = block.states.expect("an inference block has a cache");
            bindings.push((k, &cache.states[layer].0));
            bindings.push((v, &cache.states[layer].1));
            self.device.run(exec, &exec.bind(&bindings), cursor);
        }
        Ok(ids.len() - 1)
    }

    fn logits(&self, cache: &Cache, row: usize) -> Vec<f32> {
        let scratch = &cache.scratch;
        let width = self.arch.width;
        let mut activation = vec![0.0; width];
        self.device.read(&scratch.x[self.arch.layers % 2], row * width, &mut activation);
        self.device.write(&scratch.last, 0, &activation);
        self.run_head(HeadMode::Logits, 1, &scratch.last, None, None, &scratch.logits);
        let mut logits = vec![0.0; self.arch.vocab];
        self.device.read(&scratch.logits, 0, &mut logits);
        logits
    }
}
