//! Training that may be cut at any instant: a state, one micro-step, and a checkpoint of all of it.
//!
//! What a run does at a step is a pure function of its plan and of its state, so a run that was
//! killed and resumed from a checkpoint ends with the same bits as one that was left alone.

use sapwood_models::{Adapter, LoraConfig, Model, ModelError, Sequence, Stop};

use super::loss::{Loss, SequenceLogp, loss_and_gradient};
use super::optimizer::{AdamW, Moments, Schedule};

/// What is trained, for how long, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Rank, alpha and targets of the adapter.
    pub lora: LoraConfig,
    /// The optimizer.
    pub optimizer: AdamW,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Updates in the run; a learner's run ends before if it has little to learn from
    /// ([`Learning::passes`](crate::Learning)).
    pub steps: u32,
    /// Sequences per update.
    pub batch: u32,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            lora: LoraConfig::default(),
            optimizer: AdamW::default(),
            schedule: Schedule::Cosine { warmup_steps: 10 },
            steps: 200,
            batch: 8,
        }
    }
}

/// Where a run stands, to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainState {
    /// Updates made.
    pub step: u32,
    /// Sequences of the current update that are in `gradient` already.
    pub micro: u32,
    /// The adapter's parameters.
    pub values: Vec<f32>,
    /// The optimizer's memory.
    pub moments: Moments,
    /// Sum over the sequences of the current update.
    pub gradient: Vec<f32>,
    /// Weighted loss and weight of the current update so far.
    pub partial: (f64, f64),
    /// Mean loss of each update.
    pub losses: Vec<f32>,
    /// Updates that were left out because the gradient was not finite.
    pub skipped: u32,
    /// Tokens of all updates made.
    pub tokens: u64,
    /// Tokens of the sequences that are in `gradient`: they count when the update is made, so that
    /// one that starts again counts once.
    pub update_tokens: u64,
}

impl TrainState {
    /// The state before the first update, starting from `values`.
    pub fn new(values: Vec<f32>) -> TrainState {
        TrainState {
            step: 0,
            micro: 0,
            moments: Moments::new(values.len()),
            gradient: vec![0.0; values.len()],
            values,
            partial: (0.0, 0.0),
            losses: Vec::new(),
            skipped: 0,
            tokens: 0,
            update_tokens: 0,
        }
    }

    /// The state of a new adapter that changes nothing yet.
    pub fn fresh(model: &Model, config: &TrainConfig, seed: u64) -> TrainState {
        TrainState::new(model.new_adapter(&config.lora, seed).values())
    }

    fn restart_update(&mut self) {
        self.gradient.fill(0.0);
        self.micro = 0;
        self.partial = (0.0, 0.0);
        self.update_tokens = 0;
    }
}

/// A run on a model.
pub struct Trainer<'m> {
    model: &'m Model,
    config: TrainConfig,
    adapter: Adapter,
    state: TrainState,
}

impl<'m> Trainer<'m> {
    /// A run that starts or goes on from `state`.
    ///
    /// # Panics
    /// If the state's length is not that of an adapter of `config` on `model`.
    pub fn new(model: &'m Model, config: TrainConfig, state: TrainState) -> Trainer<'m> {
        let adapter = model.adapter(&config.lora, &state.values);
        Trainer { model, config, adapter, state }
    }

    /// Whether all updates were made.
    pub fn is_done(&self) -> bool {
        self.state.step >= self.config.steps
    }

    /// Where the run stands.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The adapter as it is now.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The adapter that the run ends with, and the final state.
    pub fn into_adapter(self) -> (Adapter, TrainState) {
        (self.adapter, self.state)
    }

    /// Adds one sequence to the current update, and makes the update if it was the last of its
    /// batch. A stop in the middle of the backward pass leaves half a gradient, which is thrown
    /// away with the rest of the update: the update then starts again from its first sequence,
    /// which costs time but no bit of the result. So it does, without an error, if the GPU fails:
    /// the processor makes the update, and what it computes differs from the GPU in the last bits.
    ///
    /// # Errors
    /// [`ModelError::Stopped`] when `stop` asks for it; else as [`Model::trace`].
    pub fn micro_step(
        &mut self,
        sequence: &Sequence,
        weight: f32,
        stop: &Stop,
    ) -> Result<(), ModelError> {
        let trace = self.model.trace(Some(&self.adapter), sequence, stop)?;
        let sum = trace.logp.iter().map(|&v| f64::from(v)).sum();
        let group = [SequenceLogp { sum, tokens: trace.logp.len() }];
        let (value, slope) = loss_and_gradient(Loss::Sft, &group);
        let dlogp = vec![(slope[0] * f64::from(weight)) as f32; trace.logp.len()];
        let gradient = &mut self.state.gradient;
        if let Err(error) = self.model.backward(&self.adapter, trace, &dlogp, gradient, stop) {
            self.state.restart_update();
            // Without its GPU the model goes on with the processor.
            return if matches!(error, ModelError::Gpu(_)) { Ok(()) } else { Err(error) };
        }
        self.state.partial.0 += value * f64::from(weight);
        self.state.partial.1 += f64::from(weight);
        self.state.micro += 1;
        self.state.update_tokens += sequence.ids.len() as u64;
        if self.state.micro == self.config.batch {
            self.update();
        }
        Ok(())
    }

    fn update(&mut self) {
        let state = &mut self.state;
        let (loss, weight) = state.partial;
        let scale = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        state.gradient.iter_mut().for_each(|g| *g *= scale as f32);
        let factor = self.config.schedule.factor(state.step, self.config.steps);
        let values = &mut state.values;
        let norm =
            self.config.optimizer.update(values, &state.gradient, &mut state.moments, factor);
        match norm {
            Some(_) => self.adapter.write(&state.values),
            None => state.skipped += 1,
        }
        state.losses.push((loss * scale) as f32);
        state.tokens += state.update_tokens;
        state.restart_update();
        state.step += 1;
    }
}
