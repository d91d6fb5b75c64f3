//! Scoring and training: whole sequences in, log-probabilities and LoRA gradients out.

use sapwood_kernels::{Buffer, Cursor};

use crate::adapter::Adapter;
use crate::block::Mode;
use crate::error::ModelError;
use crate::grads::PairGrads;
use crate::head::HeadMode;
use crate::model::Model;
use crate::stop::Stop;

/// A sequence to score or to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// All tokens, the prompt's included.
    pub ids: Vec<u32>,
    /// Whether each token is a target: something that the model should have said. The first token
    /// can't be one.
    pub targets: Vec<bool>,
}

impl Sequence {
    /// A sequence whose tokens from `prompt_len` on are the targets.
    pub fn after_prompt(ids: Vec<u32>, prompt_len: usize) -> Sequence {
        let targets = (0..ids.len()).map(|i| i >= prompt_len.max(1)).collect();
        Sequence { ids, targets }
    }

    /// Number of targets.
    pub fn target_count(&self) -> usize {
        self.targets.iter().skip(1).filter(|&&t| t).count()
    }

    /// Rows that the model computes: every token but the last predicts its successor.
    pub(crate) fn rows(&self) -> usize {
        self.ids.len() - 1
    }

    /// Rows that carry loss, each with the token that it should predict.
    fn loss_rows(&self) -> Vec<(usize, u32)> {
        let next = self.ids.iter().zip(&self.targets).skip(1).enumerate();
        next.filter(|(_, (_, wanted))| **wanted).map(|(row, (id, _))| (row, *id)).collect()
    }
}

/// A forward pass that remembers what the backward pass needs: the input of every block.
pub struct Trace {
    rows: usize,
    loss_rows: Vec<(usize, u32)>,
    /// Input of each block, and of the head: (rows, C) each.
    activations: Vec<Buffer>,
    /// Log-probability of each target, in order.
    pub logp: Vec<f32>,
}

/// The head sees this many loss rows at a time, so that a stop is obeyed soon on models with a
/// large vocabulary.
pub(crate) const HEAD_ROWS: usize = 64;

impl Model {
    /// Log-probability of each target of `sequence`, in order.
    ///
    /// # Errors
    /// [`ModelError::NoTokens`] for fewer than two tokens, [`ModelError::UnknownToken`],
    /// [`ModelError::Stopped`].
    pub fn score(
        &self,
        adapter: Option<&Adapter>,
        sequence: &Sequence,
        stop: &Stop,
    ) -> Result<Vec<f32>, ModelError> {
        let rows = self.check_sequence(sequence)?;
        let zeros = || self.device.zeros(rows, self.arch.width);
        let x = [zeros(), zeros()];
        let activations = (0..=self.arch.layers).map(|i| x[i % 2].clone()).collect();
        Ok(self.forward(adapter, sequence, activations, stop)?.logp)
    }

    /// Like [`Model::score`], remembering what [`Model::backward`] needs.
    ///
    /// # Errors
    /// As [`Model::score`].
    pub fn trace(
        &self,
        adapter: Option<&Adapter>,
        sequence: &Sequence,
        stop: &Stop,
    ) -> Result<Trace, ModelError> {
        let rows = self.check_sequence(sequence)?;
        let zeros = |_| self.device.zeros(rows, self.arch.width);
        self.forward(adapter, sequence, (0..=self.arch.layers).map(zeros).collect(), stop)
    }

    /// Block i reads `activations[i]` and writes `activations[i + 1]`.
    fn forward(
        &self,
        adapter: Option<&Adapter>,
        sequence: &Sequence,
        activations: Vec<Buffer>,
        stop: &Stop,
    ) -> Result<Trace, ModelError> {
        let rows = sequence.rows();
        let cursor = Cursor { pos: 0, tokens: rows };
        let ids = self.device.ids(rows);
        self.embed(&sequence.ids[..rows], &ids, &activations[0], cursor);
        for layer in 0..self.arch.layers {
            stop.check()?;
            let compiled =
                self.compiled_block(layer, adapter.map(Adapter::layout), Mode::Forward, rows);
            let (block, exec) = &*compiled;
            let mut bindings = self.bind_block(block, layer, adapter);
            bindings.push((block.x, &activations[layer]));
            bindings.push((block.out, &activations[layer + 1]));
            self.device.run(exec, &exec.bind(&bindings), cursor);
        }
        let mut trace =
            Trace { rows, loss_rows: sequence.loss_rows(), activations, logp: Vec::new() };
        self.score_rows(&mut trace, stop)?;
        Ok(trace)
    }

    fn score_rows(&self, trace: &mut Trace, stop: &Stop) -> Result<(), ModelError> {
        let mut piece = HeadPiece::new(self, trace.loss_rows.len());
        let out = self.device.zeros(piece.rows, 1);
        let x = &trace.activations[self.arch.layers];
        for rows in trace.loss_rows.chunks(HEAD_ROWS) {
            stop.check()?;
            piece.gather(self, x, rows);
            let targets = Some(&piece.targets);
            self.run_head(HeadMode::Score, rows.len(), &piece.x, targets, None, &out);
            let start = trace.logp.len();
            trace.logp.resize(start + rows.len(), 0.0);
            self.device.read(&out, 0, &mut trace.logp[start..]);
        }
        Ok(())
    }

    /// Adds to `gradient` what `dlogp` (one value per target) says about the adapter's parameters.
    /// Each block is recomputed from its input, so peak memory is one block's, not the model's.
    ///
    /// `adapter` must be the one that `trace` was made with, and `gradient` as long as its
    /// [`Layout`](crate::Layout).
    ///
    /// # Errors
    /// [`ModelError::Stopped`]; `gradient` then holds a part of the sum and must be thrown away.
    pub fn backward(
        &self,
        adapter: &Adapter,
        trace: Trace,
        dlogp: &[f32],
        gradient: &mut [f32],
        stop: &Stop,
    ) -> Result<(), ModelError> {
        assert_eq!(dlogp.len(), trace.logp.len(), "one gradient per target");
        assert_eq!(gradient.len(), adapter.layout().len(), "one gradient per parameter");
        let cursor = Cursor { pos: 0, tokens: trace.rows };
        let mut upstream = self.head_gradient(&trace, dlogp, stop)?;
        // The head's input is not needed any more: gradients take turns in it.
        let Trace { mut activations, .. } = trace;
        let mut spare = activations.pop().expect("the head's input");
        let grads = PairGrads::new(&self.device, adapter);
        for (layer, x) in activations.iter().enumerate().rev() {
            stop.check()?;
            let compiled =
                self.compiled_block(layer, Some(adapter.layout()), Mode::Backward, trace.rows);
            let (block, exec) = &*compiled;
            let mut bindings = self.bind_block(block, layer, Some(adapter));
            bindings.push((block.x, x));
            bindings.push((block.seed.expect("a backward block has a seed"), &upstream));
            bindings.push((block.out, &spare));
            grads.bind(adapter, layer, block, &mut bindings);
            self.device.run(exec, &exec.bind(&bindings), cursor);
            grads.add_to(&self.device, adapter, layer, gradient);
            std::mem::swap(&mut upstream, &mut spare);
        }
        Ok(())
    }

    /// Gradient of the head's input (rows, C): zero on rows that carry no loss.
    fn head_gradient(
        &self,
        trace: &Trace,
        dlogp: &[f32],
        stop: &Stop,
    ) -> Result<Buffer, ModelError> {
        let width = self.arch.width;
        let upstream = self.device.zeros(trace.rows, width);
        let mut piece = HeadPiece::new(self, trace.loss_rows.len());
        let seed = self.device.zeros(piece.rows, 1);
        let out = self.device.zeros(piece.rows, width);
        let x = &trace.activations[self.arch.layers];
        let pieces = trace.loss_rows.chunks(HEAD_ROWS).zip(dlogp.chunks(HEAD_ROWS));
        for (rows, dlogp) in pieces {
            stop.check()?;
            piece.gather(self, x, rows);
            self.device.write(&seed, 0, dlogp);
            let targets = Some(&piece.targets);
            self.run_head(HeadMode::Backward, rows.len(), &piece.x, targets, Some(&seed), &out);
            for (i, &(row, _)) in rows.iter().enumerate() {
                self.device.read(&out, i * width, &mut piece.row);
                self.device.write(&upstream, row * width, &piece.row);
            }
        }
        Ok(upstream)
    }

    fn check_sequence(&self, sequence: &Sequence) -> Result<usize, ModelError> {
        assert_eq!(sequence.ids.len(), sequence.targets.len(), "one mark per token");
        self.check_ids(&sequence.ids)?;
        if sequence.ids.len() < 2 { Err(ModelError::NoTokens) } else { Ok(sequence.rows()) }
    }
}

/// A few loss rows, gathered for the head.
struct HeadPiece {
    rows: usize,
    /// (rows, C)
    x: Buffer,
    targets: Buffer,
    row: Vec<f32>,
}

impl HeadPiece {
    fn new(model: &Model, loss_rows: usize) -> HeadPiece {
        let rows = loss_rows.clamp(1, HEAD_ROWS);
        let width = model.arch.width;
        HeadPiece {
            rows,
            x: model.device.zeros(rows, width),
            targets: model.device.ids(rows),
            row: vec![0.0; width],
        }
    }

    fn gather(&mut self, model: &Model, x: &Buffer, rows: &[(usize, u32)]) {
        let width = self.row.len();
        for (i, &(row, _)) in rows.iter().enumerate() {
            model.device.read(x, row * width, &mut self.row);
            model.device.write(&self.x, i * width, &self.row);
        }
        let targets: Vec<u32> = rows.iter().map(|&(_, target)| target).collect();
        model.device.write_ids(&self.targets, 0, &targets);
    }
}
