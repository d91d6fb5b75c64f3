//! Scoring and training: whole sequences in, log-probabilities and LoRA gradients out.

use sapwood_kernels::{Buffer, Cursor, Device};

use crate::adapter::Adapter;
use crate::arch::Arch;
use crate::block::Mode;
use crate::devices::{Place, Sides, Work};
use crate::error::ModelError;
use crate::grads::PairGrads;
use crate::head::HeadMode;
use crate::model::Model;
use crate::placed::{HeadBuffers, Placed};
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
    place: Place,
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
        Ok(self.forward(adapter, sequence, stop, Remember::Nothing)?.logp)
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
        self.forward(adapter, sequence, stop, Remember::Inputs)
    }

    fn forward(
        &self,
        adapter: Option<&Adapter>,
        sequence: &Sequence,
        stop: &Stop,
        remember: Remember,
    ) -> Result<Trace, ModelError> {
        self.check_sequence(sequence)?;
        loop {
            let pass = Pass { sides: &self.sides, placed: self.sides.of(Work::Training), stop };
            // What the GPU did not get done, the processor computes anew.
            match pass.forward(&self.arch, adapter, sequence, remember) {
                Err(ModelError::Gpu(_)) => {}
                done => return done,
            }
        }
    }

    /// Adds to `gradient` what `dlogp` (one value per target) says about the adapter's parameters.
    /// Each block is recomputed from its input, so peak memory is one block's, not the model's.
    ///
    /// `adapter` must be the one that `trace` was made with, and `gradient` as long as its
    /// [`Layout`](crate::Layout).
    ///
    /// # Errors
    /// [`ModelError::Stopped`], and [`ModelError::Gpu`] if `trace` lies on a GPU that has failed or
    /// may not be used any more: `gradient` then holds a part of the sum and must be thrown away.
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
        let pass = Pass { sides: &self.sides, placed: self.sides.at(trace.place), stop };
        pass.backward(adapter, trace, dlogp, gradient)
    }

    fn check_sequence(&self, sequence: &Sequence) -> Result<(), ModelError> {
        assert_eq!(sequence.ids.len(), sequence.targets.len(), "one mark per token");
        self.check_ids(&sequence.ids)?;
        if sequence.ids.len() < 2 { Err(ModelError::NoTokens) } else { Ok(()) }
    }
}

/// Which activations stay.
#[derive(Clone, Copy)]
enum Remember {
    /// Two that take turns.
    Nothing,
    /// The input of every block, and of the head.
    Inputs,
}

/// A pass over a sequence on one device.
struct Pass<'a> {
    sides: &'a Sides,
    placed: &'a Placed,
    stop: &'a Stop,
}

impl Pass<'_> {
    /// Between programs, and after the last read: a device that has failed reads zeros.
    fn check(&self) -> Result<(), ModelError> {
        self.stop.check()?;
        self.sides.obstacle(self.placed.place).map_or(Ok(()), |why| Err(ModelError::Gpu(why)))
    }

    /// Block i reads `activations[i]` and writes `activations[i + 1]`.
    fn forward(
        &self,
        arch: &Arch,
        adapter: Option<&Adapter>,
        sequence: &Sequence,
        remember: Remember,
    ) -> Result<Trace, ModelError> {
        let (placed, rows) = (self.placed, sequence.rows());
        let zeros = || placed.device.zeros(rows, arch.width);
        let activations: Vec<Buffer> = match remember {
            Remember::Inputs => (0..=arch.layers).map(|_| zeros()).collect(),
            Remember::Nothing => {
                let x = [zeros(), zeros()];
                (0..=arch.layers).map(|i| x[i % 2].clone()).collect()
            }
        };
        let cursor = Cursor { pos: 0, tokens: rows };
        let ids = placed.device.ids(rows);
        placed.embed(&sequence.ids[..rows], &ids, &activations[0], cursor);
        for layer in 0..activations.len() - 1 {
            self.check()?;
            let layout = adapter.map(Adapter::layout);
            let compiled = placed.compiled_block(layer, layout, Mode::Forward, rows);
            let (block, exec) = &*compiled;
            let mut bindings = placed.layer_buffers(block, layer, adapter);
            bindings.push((block.x, &activations[layer]));
            bindings.push((block.out, &activations[layer + 1]));
            placed.device.run(exec, &exec.bind(&bindings), cursor);
        }
        let loss_rows = sequence.loss_rows();
        let mut trace =
            Trace { place: placed.place, rows, loss_rows, activations, logp: Vec::new() };
        self.score_rows(&mut trace)?;
        self.check()?;
        Ok(trace)
    }

    fn score_rows(&self, trace: &mut Trace) -> Result<(), ModelError> {
        let x = trace.activations.last().expect("the head's input");
        let piece = HeadPiece::new(&self.placed.device, trace.loss_rows.len(), x.cols());
        let out = self.placed.device.zeros(piece.rows, 1);
        for rows in trace.loss_rows.chunks(HEAD_ROWS) {
            self.check()?;
            piece.gather(&self.placed.device, x, rows);
            let (x, targets) = (&piece.x, Some(&piece.targets));
            let buffers = HeadBuffers { x, targets, seed: None, out: &out };
            self.placed.run_head(HeadMode::Score, rows.len(), &buffers);
            let start = trace.logp.len();
            trace.logp.resize(start + rows.len(), 0.0);
            self.placed.device.read(&out, 0, &mut trace.logp[start..]);
        }
        Ok(())
    }

    fn backward(
        &self,
        adapter: &Adapter,
        trace: Trace,
        dlogp: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), ModelError> {
        let placed = self.placed;
        let cursor = Cursor { pos: 0, tokens: trace.rows };
        let mut upstream = self.head_gradient(&trace, dlogp)?;
        // The head's input is not needed any more: gradients take turns in it.
        let Trace { mut activations, .. } = trace;
        let mut spare = activations.pop().expect("the head's input");
        let grads = PairGrads::new(&placed.device, adapter);
        for (layer, x) in activations.iter().enumerate().rev() {
            self.check()?;
            let layout = Some(adapter.layout());
            let compiled = placed.compiled_block(layer, layout, Mode::Backward, trace.rows);
            let (block, exec) = &*compiled;
            let mut bindings = placed.layer_buffers(block, layer, Some(adapter));
            bindings.push((block.x, x));
            bindings.push((block.seed.expect("a backward block has a seed"), &upstream));
            bindings.push((block.out, &spare));
            grads.bind(adapter, layer, block, &mut bindings);
            placed.device.run(exec, &exec.bind(&bindings), cursor);
            grads.add_to(&placed.device, adapter, layer, gradient);
            std::mem::swap(&mut upstream, &mut spare);
        }
        self.check()
    }

    /// Gradient of the head's input (rows, C): zero on rows that carry no loss.
    fn head_gradient(&self, trace: &Trace, dlogp: &[f32]) -> Result<Buffer, ModelError> {
        let x = trace.activations.last().expect("the head's input");
        let (device, width) = (&self.placed.device, x.cols());
        let upstream = device.zeros(trace.rows, width);
        let piece = HeadPiece::new(device, trace.loss_rows.len(), width);
        let seed = device.zeros(piece.rows, 1);
        let out = device.zeros(piece.rows, width);
        let pieces = trace.loss_rows.chunks(HEAD_ROWS).zip(dlogp.chunks(HEAD_ROWS));
        for (rows, dlogp) in pieces {
            self.check()?;
            piece.gather(device, x, rows);
            device.write(&seed, 0, dlogp);
            let (targets, seed) = (Some(&piece.targets), Some(&seed));
            let buffers = HeadBuffers { x: &piece.x, targets, seed, out: &out };
            self.placed.run_head(HeadMode::Backward, rows.len(), &buffers);
            for (i, &(row, _)) in rows.iter().enumerate() {
                device.copy(&out, i * width, &upstream, row * width, width);
            }
        }
        Ok(upstream)
    }
}

/// A few loss rows, gathered for the head.
struct HeadPiece {
    rows: usize,
    /// (rows, C)
    x: Buffer,
    targets: Buffer,
}

impl HeadPiece {
    fn new(device: &Device, loss_rows: usize, width: usize) -> HeadPiece {
        let rows = loss_rows.clamp(1, HEAD_ROWS);
        HeadPiece { rows, x: device.zeros(rows, width), targets: device.ids(rows) }
    }

    fn gather(&self, device: &Device, x: &Buffer, rows: &[(usize, u32)]) {
        let width = x.cols();
        for (i, &(row, _)) in rows.iter().enumerate() {
            device.copy(x, row * width, &self.x, i * width, width);
        }
        let targets: Vec<u32> = rows.iter().map(|&(_, target)| target).collect();
        device.write_ids(&self.targets, 0, &targets);
    }
}
