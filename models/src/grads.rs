//! Where the gradients of one layer's LoRA pairs land before they are added up.

use sapwood_kernels::{Buffer, Device, Slot};

use crate::adapter::Adapter;
use crate::block::{Block, Target};

/// Target, rank and input width of a pair.
type Shape = (usize, usize, usize);

/// One pair of buffers per adapted linear, shared by layers whose pairs have the same shape.
pub(crate) struct PairGrads {
    buffers: Vec<(Shape, (Buffer, Buffer))>,
}

impl PairGrads {
    pub fn new(device: &Device, adapter: &Adapter) -> PairGrads {
        let mut grads = PairGrads { buffers: Vec::new() };
        for pair in adapter.layout().pairs() {
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
        let mut values = Vec::new();
        for pair in adapter.layout().pairs().iter().filter(|p| p.layer == layer) {
            let (a, b) = self.get(adapter, layer, pair.target);
            let places =
                [(a, pair.offset, pair.a_len()), (b, pair.offset + pair.a_len(), pair.b_len())];
            for (buffer, offset, len) in places {
                values.resize(len, 0.0);
                device.read(buffer, 0, &mut values);
                for (sum, value) in gradient[offset..offset + len].iter_mut().zip(&values) {
                    *sum += value;
                }
            }
        }
    }
}
