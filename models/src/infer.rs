//! Generation: tokens in, logits out, through the KV cache.

use crate::adapter::Adapter;
use crate::cache::{Cache, Scratch};
use crate::devices::Work;
use crate::error::ModelError;
use crate::model::Model;
use crate::placed::Placed;
use crate::stop::Stop;

impl Model {
    /// An empty cache for at most `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Cache {
        Cache::new(&self.arch, capacity)
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
        self.advance(cache, adapter, ids, None, all_logits)
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
        self.advance(cache, adapter, ids, Some(stop), all_logits)
    }

    /// The reply to the prompt `ids` at temperature 0: the likeliest token each time, the lowest id
    /// on ties, until one ends the text or there are `most`.
    ///
    /// # Errors
    /// As [`Model::step_unless_stopped`], and [`ModelError::NotFinite`].
    pub fn greedy(
        &self,
        adapter: Option<&Adapter>,
        ids: &[u32],
        most: usize,
        stop: &Stop,
    ) -> Result<String, ModelError> {
        let mut cache = self.cache(ids.len() + most);
        let mut text = self.tokenizer().stream(true);
        let mut reply = String::new();
        for token in self.likeliest(&mut cache, adapter, ids, most, stop)? {
            let token = token?;
            if self.tokenizer().is_end(token) {
                break;
            }
            reply += &text.push(token);
        }
        Ok(reply + &text.finish())
    }

    /// As [`Model::step`], with what `read` makes of the device and its logits.
    pub(crate) fn advance<T>(
        &self,
        cache: &mut Cache,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: Option<&Stop>,
        read: impl Fn(&Placed, &Scratch) -> T,
    ) -> Result<T, ModelError> {
        self.check_ids(ids)?;
        if !cache.held.admits(adapter.map(Adapter::digest)) {
            return Err(ModelError::StaleCache);
        }
        let before = cache.len();
        let needed = before + ids.len();
        if needed > cache.capacity() {
            return Err(ModelError::ContextFull { needed, capacity: cache.capacity() });
        }
        let work = if ids.len() == 1 { Work::Decode } else { Work::Prefill };
        loop {
            let placed = self.sides.of(work);
            let mut all = cache.bring_to(placed);
            all.extend_from_slice(ids);
            let result = cache.extend(placed, adapter, &all, stop, &read);
            // A device that has failed returns zeros: the next one computes the same again.
            if placed.device.fault().is_none() {
                return result;
            }
            cache.abandon(placed.place, before);
            result?; // it was asked to stop as well
        }
    }
}

fn all_logits(placed: &Placed, scratch: &Scratch) -> Vec<f32> {
    let mut values = vec![0.0; scratch.logits.cols()];
    placed.device.read(&scratch.logits, 0, &mut values);
    values
}
