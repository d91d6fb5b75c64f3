//! How fast a device does each kind of work: the first block of the model, on tokens that mean
//! nothing.

use std::time::{Duration, Instant};

use sapwood_kernels::{Buffer, Cursor, Quant, Slot};

use crate::adapter::{Adapter, LoraConfig};
use crate::block::{Block, Mode};
use crate::devices::{Place, Work};
use crate::grads::PairGrads;
use crate::model::Model;
use crate::placed::Placed;

/// Tokens of a prompt and of a sequence.
const TOKENS: usize = 32;

impl Model {
    /// Compiles what [`Model::time_of_block`] runs, which takes a GPU long; also what it costs to try
    /// its kernels falls here.
    pub fn compile_block(&self, work: Work, place: Place) {
        let placed = match place {
            Place::Cpu => Some(&self.sides.cpu),
            Place::Gpu => self.sides.gpu(),
        };
        if let Some(placed) = placed {
            let (mode, tokens) = shape(work);
            let adapter = (mode == Mode::Backward).then(|| self.thin_adapter());
            placed.compiled_block(0, adapter.as_ref().map(Adapter::layout), mode, tokens);
        }
    }

    /// Of rank 1 on all linears: gradients flow through all of the block.
    fn thin_adapter(&self) -> Adapter {
        self.new_adapter(&LoraConfig { rank: 1, alpha: 1.0, ..LoraConfig::default() }, 0)
    }

    /// Time that one block takes at `place` for `work`, at best: of a token when decoding, of 32
    /// otherwise. `None` if there is no such device or it has failed. What has to be compiled for
    /// it is compiled first; running takes about `within`, at least two runs.
    pub fn time_of_block(&self, work: Work, place: Place, within: Duration) -> Option<Duration> {
        let placed = match place {
            Place::Cpu => &self.sides.cpu,
            Place::Gpu => self.sides.gpu()?,
        };
        let (mode, tokens) = shape(work);
        let adapter = (mode == Mode::Backward).then(|| self.thin_adapter());
        let best = self.time_runs(placed, mode, tokens, adapter.as_ref(), within);
        placed.device.fault().is_none().then_some(best)
    }

    fn time_runs(
        &self,
        placed: &Placed,
        mode: Mode,
        tokens: usize,
        adapter: Option<&Adapter>,
        within: Duration,
    ) -> Duration {
        let (arch, device) = (&self.arch, &placed.device);
        let compiled = placed.compiled_block(0, adapter.map(Adapter::layout), mode, tokens);
        let (block, exec) = &*compiled;
        let ones = || device.values(tokens, arch.width, &vec![1.0; tokens * arch.width]);
        let state = || device.state(tokens, arch.kv_width(), Quant::F16);
        let (x, out, seed, states) = (ones(), ones(), ones(), [state(), state()]);
        let grads = adapter.map(|adapter| PairGrads::new(device, adapter));
        let mut buffers = placed.layer_buffers(block, 0, adapter);
        buffers.extend([(block.x, &x), (block.out, &out)]);
        buffers.extend(rest(block, &states, &seed));
        if let Some((grads, adapter)) = grads.as_ref().zip(adapter) {
            grads.bind(adapter, 0, block, &mut buffers);
        }
        let bindings = exec.bind(&buffers);
        let mut read = vec![0.0; 1];
        // A token passes all blocks before anything is read, and the way back from a GPU is long.
        let blocks = if tokens == 1 { arch.layers as u32 } else { 1 };
        let mut run = || {
            let start = Instant::now();
            (0..blocks).for_each(|_| device.run(exec, &bindings, Cursor { pos: 0, tokens }));
            device.read(&out, 0, &mut read);
            start.elapsed() / blocks
        };
        // The first run finds cold memory.
        run();
        let began = Instant::now();
        let mut best = run();
        while began.elapsed() < within {
            best = best.min(run());
        }
        best
    }
}

/// What a block does for `work`, and on how many tokens.
fn shape(work: Work) -> (Mode, usize) {
    match work {
        Work::Decode => (Mode::Infer, 1),
        Work::Prefill => (Mode::Infer, TOKENS),
        Work::Training => (Mode::Backward, TOKENS),
    }
}

/// Cache and gradient of the result, where the block has them.
fn rest<'a>(
    block: &Block,
    states: &'a [Buffer; 2],
    seed: &'a Buffer,
) -> impl Iterator<Item = (Slot, &'a Buffer)> {
    let states = block.states.map(|(k, v)| [(k, &states[0]), (v, &states[1])]);
    states.into_iter().flatten().chain(block.seed.map(|slot| (slot, seed)))
}
