//! Where the gradients of one layer's LoRA pairs land before they are added up.

use sapwood_kernels::{Buffer, Device, Slot};

use crate::adapter::Adapter;
use crate::block::{Block, Target};

/// Target, rank and input width of a pair.
type Shape = (usize, usize, usize);

/// One pair of buffers per adapted linear, shared by layers whose pairs have the same shape.
pub(crate) struct PairGrads {
    buffers: Vec<(Shape, (Buffer, Buffer))>,
    /// A layer's gradients one after another, as in the flat vector: read at once.
    landing: Buffer,
}

impl PairGrads {
    pub fn new(device: &Device, adapter: &Adapter) -> PairGrads {
        let layout = adapter.layout();
        let landing = device.zeros(layout.layer_len_max().max(1), 1);
        let mut grads = PairGrads { buffers: Vec::new(), landing };
        for pair in layout.pairs() {
            let key = (pair.target as usize, pair.rank, pair.inputs);
            if grads.buffers.iter().all(|(k, _)| *k != key) {
                let a = device.zeros(pair.rank, pair.inputs);
                let b = device.zeros(pair.outputs, pair.rank);
                grads.buffers.push((key, (a, b)));
            }
        }
        grads
    }

    fn get(&self, adapter: &Adapter, layer: usize, target: Target) -> &(Buffer, Buffer) {
        let pair = adapter.layout().pair(layer, target).expect("the block was built for it");
        let key = (pair.target as usize, pair.rank, pair.inputs);
        &self.buffers.iter().find(|(k, _)| *k == key).expect("made for every shape").1
    }

    /// Binds the gradient outputs of `layer`'s backward block.
    pub fn bind<'a>(
        &'a self,
        adapter: &Adapter,
        layer: usize,
        block: &Block,
        bindings: &mut Vec<(Slot, &'a Buffer)>,
    ) {
        for (target, slots) in Target::ALL.into_iter().zip(block.pair_grads) {
            if let Some((a, b)) = slots {
                let buffers = self.get(adapter, layer, target);
                bindings.push((a, &buffers.0));
                bindings.push((b, &buffers.1));
            }
        }
    }

    /// Adds what the block left in the buffers to the flat gradient.
    pub fn add_to(&self, device: &Device, adapter: &Adapter, layer: usize, gradient: &mut [f32]) {
        let pairs = adapter.layout().pairs().iter().filter(|p| p.layer == layer);
        let mut len = 0;
        for pair in pairs.clone() {
            let (a, b) = self.get(adapter, layer, pair.target);
            for (buffer, values) in [(a, pair.a_len()), (b, pair.b_len())] {
                device.copy(buffer, 0, &self.landing, len, values);
                len += values;
            }
        }
        let mut values = vec![0.0; len];
        device.read(&self.landing, 0, &mut values);
        let start = pairs.map(|pair| pair.offset).next().unwrap_or(0);
        for (sum, value) in gradient[start..start + len].iter_mut().zip(&values) {
            *sum += value;
        }
    }
}
