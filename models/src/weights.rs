//! The tensors of a model, bound to a device.

use std::sync::Arc;

use sapwood_kernels::{Buffer, Device, Quant, WeightSource};

use crate::arch::{Arch, ArchError, LayerTensor};
use crate::block::Target;
use crate::error::ModelError;
use crate::gguf::{Gguf, TensorInfo};
use crate::mmap::Mapped;

/// All weights. Matrices stay as they are in the mapped file; vectors (norms, biases, rope
/// factors) are a few kilobytes and become f32.
pub(crate) struct Weights {
    pub embedding: Buffer,
    pub embedding_quant: Quant,
    embedding_start: usize,
    pub output_norm: Buffer,
    /// The head, if it is not tied to the embedding.
    head: Option<(Buffer, Quant)>,
    pub rope_factors: Option<Buffer>,
    pub layers: Vec<LayerWeights>,
}

pub(crate) struct LayerWeights {
    tensors: Vec<(LayerTensor, Buffer)>,
    /// Block types of the seven linears, by [`Target::ALL`].
    pub quants: [Quant; 7],
}

impl LayerWeights {
    pub fn get(&self, tensor: LayerTensor) -> &Buffer {
        let found = self.tensors.iter().find(|(t, _)| *t == tensor);
        &found.expect("the architecture lists every tensor that the block uses").1
    }
}

struct Binder<'a> {
    gguf: &'a Gguf,
    file: &'a Mapped,
    device: &'a Device,
}

impl Binder<'_> {
    fn info(&self, name: &str) -> &TensorInfo {
        self.gguf.tensor(name).expect("the architecture checked that it is there")
    }

    fn matrix(&self, name: &str) -> (Buffer, Quant) {
        let t = self.info(name);
        let bytes = Arc::new(self.file.clone());
        (self.device.weight(bytes, t.range.clone(), (t.rows, t.cols), t.quant), t.quant)
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let t = self.info(name);
        let mut values = vec![0.0; t.rows * t.cols];
        t.quant.dequantize(&self.file.bytes()[t.range.clone()], &mut values);
        values
    }

    fn vector(&self, name: &str) -> Buffer {
        let values = self.values(name);
        self.device.values(1, values.len(), &values)
    }

    /// What a block uses lies together.
    fn layer(&self, arch: &Arch, layer: usize) -> LayerWeights {
        let target = |tensor| Target::ALL.into_iter().find(|t| t.tensor() == tensor);
        let (matrices, vectors): (Vec<LayerTensor>, Vec<LayerTensor>) =
            arch.layer_tensors().partition(|&tensor| target(tensor).is_some());
        let mut quants = [Quant::F32; 7];
        let matrix = |&tensor: &LayerTensor| {
            let t = self.info(&tensor.full_name(layer));
            if let Some(target) = target(tensor) {
                quants[target as usize] = t.quant;
            }
            let bytes = Arc::new(self.file.clone());
            let (range, shape) = (t.range.clone(), (t.rows, t.cols));
            WeightSource { bytes, range, shape, quant: t.quant }
        };
        let weights = self.device.weights(matrices.iter().map(matrix).collect());
        let mut tensors: Vec<_> = matrices.into_iter().zip(weights).collect();
        let values: Vec<Vec<f32>> =
            vectors.iter().map(|tensor| self.values(&tensor.full_name(layer))).collect();
        let shapes: Vec<_> = values.iter().map(|values| (1, values.len())).collect();
        let buffers = self.device.zeros_together(&shapes);
        for ((tensor, buffer), values) in vectors.into_iter().zip(buffers).zip(values) {
            self.device.write(&buffer, 0, &values);
            tensors.push((tensor, buffer));
        }
        LayerWeights { tensors, quants }
    }

    /// Frequencies are divided by these, so a zero or a NaN would turn every key into NaN.
    fn rope_factors(&self) -> Result<Buffer, ArchError> {
        let name = "rope_freqs.weight";
        let t = self.info(name);
        let mut values = vec![0.0; t.rows * t.cols];
        t.quant.dequantize(&self.file.bytes()[t.range.clone()], &mut values);
        match values.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
            Some(&found) => {
                Err(ArchError::BadFloat { key: name.into(), found, wanted: "finite and above 0" })
            }
            None => Ok(self.device.values(1, values.len(), &values)),
        }
    }
}

impl Weights {
    pub fn bind(
        gguf: &Gguf,
        file: &Mapped,
        arch: &Arch,
        device: &Device,
    ) -> Result<Weights, ModelError> {
        let b = Binder { gguf, file, device };
        let (embedding, embedding_quant) = b.matrix("token_embd.weight");
        let layers = (0..arch.layers).map(|layer| b.layer(arch, layer)).collect();
        Ok(Weights {
            embedding,
            embedding_quant,
            embedding_start: b.info("token_embd.weight").range.start,
            output_norm: b.vector("output_norm.weight"),
            head: (!arch.tied_head).then(|| b.matrix("output.weight")),
            rope_factors: arch.rope.factors.then(|| b.rope_factors()).transpose()?,
            layers,
        })
    }

    pub fn head(&self) -> &Buffer {
        self.head.as_ref().map_or(&self.embedding, |(buffer, _)| buffer)
    }

    pub fn head_quant(&self) -> Quant {
        self.head.as_ref().map_or(self.embedding_quant, |(_, quant)| *quant)
    }

    /// Bytes of all of them on the device.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|layer| &layer.tensors);
        let head = self.head.as_ref().map(|(buffer, _)| buffer);
        let rest = [&self.embedding, &self.output_norm].into_iter().chain(head);
        let all = layers.map(|(_, buffer)| buffer).chain(rest).chain(&self.rope_factors);
        all.map(Buffer::bytes).sum()
    }

    /// Bytes of one row of the embedding table within the file.
    pub fn embedding_row<'a>(&self, file: &'a [u8], id: u32, arch: &Arch) -> &'a [u8] {
        assert!((id as usize) < arch.vocab, "the token is in the vocabulary");
        let bytes = self.embedding_quant.row_bytes(arch.width).expect("checked when parsed");
        let start = self.embedding_start + id as usize * bytes;
        &file[start..start + bytes]
    }
}
