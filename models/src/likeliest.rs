//! Generation at temperature 0: each token is chosen where its logits are, and the host learns it
//! while the device goes on with it.

use std::collections::VecDeque;

use sapwood_kernels::Chosen;

use crate::adapter::Adapter;
use crate::cache::{Cache, Scratch};
use crate::devices::{Place, Work};
use crate::error::ModelError;
use crate::model::Model;
use crate::placed::Placed;
use crate::stop::Stop;

/// The likeliest tokens behind a prompt, one after another: see [`Model::likeliest`].
pub struct Likeliest<'a> {
    model: &'a Model,
    cache: &'a mut Cache,
    adapter: Option<&'a Adapter>,
    stop: &'a Stop,
    /// Tokens that are still wanted.
    left: usize,
    /// The token that was read last, until the cache holds it.
    last: Option<u32>,
    /// Tokens that were chosen and not read, oldest first: the first follows what the cache holds,
    /// and each has been computed to choose the next.
    chosen: VecDeque<Chosen>,
    /// Where they were chosen.
    place: Place,
}

/// Steps that a GPU is given beyond the token that is read: it works on one while the host wakes
/// up, reads and records the next. A second gained nothing on the emulated GPU that it was tried
/// on, and would be thrown away at the end of each reply.
const AHEAD: usize = 1;

impl Model {
    /// The tokens that follow `ids` at temperature 0: the likeliest each time, the lowest id on
    /// ties, at most `most` of them. Also those that end a text, behind which nobody need read on.
    ///
    /// A GPU computes what follows a token before the token is read here. What it did beyond the
    /// last one that was taken leaves no trace: `cache` holds the prompt and the tokens before that
    /// one.
    ///
    /// # Errors
    /// As [`Model::step_unless_stopped`]; of the iterator the same, and [`ModelError::NotFinite`].
    pub fn likeliest<'a>(
        &'a self,
        cache: &'a mut Cache,
        adapter: Option<&'a Adapter>,
        ids: &[u32],
        most: usize,
        stop: &'a Stop,
    ) -> Result<Likeliest<'a>, ModelError> {
        let (place, first) = self.advance(cache, adapter, ids, Some(stop), choose)?;
        let chosen = VecDeque::from([first]);
        Ok(Likeliest { model: self, cache, adapter, stop, left: most, last: None, chosen, place })
    }
}

/// The likeliest token, which is also where the next step reads it.
fn choose(placed: &Placed, scratch: &Scratch) -> (Place, Chosen) {
    (placed.place, placed.device.argmax_into(&scratch.logits, 0, &scratch.ids, 0))
}

impl Iterator for Likeliest<'_> {
    type Item = Result<u32, ModelError>;

    fn next(&mut self) -> Option<Result<u32, ModelError>> {
        if self.left == 0 {
            return None;
        }
        let token = self.token();
        self.left = if token.is_ok() { self.left - 1 } else { 0 };
        Some(token)
    }
}

impl Likeliest<'_> {
    fn token(&mut self) -> Result<u32, ModelError> {
        match self.last.take() {
            Some(last) if self.chosen.is_empty() => self.step(&[last])?,
            Some(last) => self.cache.take_in(self.place, last),
            None => {}
        }
        loop {
            self.run_ahead()?;
            let (token, logit) = self.chosen.pop_front().expect("a step was taken").wait();
            if self.model.sides.at(self.place).device.fault().is_some() {
                // What was not read is lost with its device: the next one takes the step again.
                self.chosen.clear();
                let ids = self.cache.abandon(self.place, self.cache.len() - 1);
                self.step(&ids)?;
                continue;
            }
            if !logit.is_finite() {
                return Err(ModelError::NotFinite { id: token });
            }
            self.last = Some(token);
            return Ok(token);
        }
    }

    /// Takes the step behind tokens that are known.
    fn step(&mut self, ids: &[u32]) -> Result<(), ModelError> {
        let (model, stop) = (self.model, Some(self.stop));
        let (place, chosen) = model.advance(self.cache, self.adapter, ids, stop, choose)?;
        self.place = place;
        self.chosen.push_back(chosen);
        Ok(())
    }

    /// Gives a GPU the steps behind tokens that are not known yet.
    fn run_ahead(&mut self) -> Result<(), ModelError> {
        let placed = self.model.sides.of(Work::Decode);
        if placed.place != self.place || placed.place == Place::Cpu {
            return Ok(());
        }
        let room = self.cache.capacity() - self.cache.len();
        let most = AHEAD.min(room).min(self.left - 1);
        while self.chosen.len() <= most {
            let ahead = self.chosen.len() - 1;
            let step = self.cache.run_ahead(placed, self.adapter, ahead, self.stop, choose)?;
            self.chosen.push_back(step.1);
        }
        Ok(())
    }
}
