//! Memory, known before the first step.

use crate::adapter::{Layout, LoraConfig};
use crate::block::Mode;
use crate::devices::{Place, Work};
use crate::head::HeadMode;
use crate::model::Model;
use crate::placed::Placed;

/// Where the memory of a run goes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The mapped file's tensors.
    pub weights: usize,
    /// Vocabulary and metadata.
    pub vocabulary: usize,
    /// Intermediate values of the largest program, with the kernels' work space.
    pub scratch: usize,
    /// Activations between programs; in training, the input of every block.
    pub activations: usize,
    /// Keys and values.
    pub cache: usize,
    /// The adapter's parameters on the device, and in training their gradients' landing place.
    pub adapter: usize,
    /// Parameters, moments and gradient on the host.
    pub optimizer: usize,
    /// The weights once more, packed for the GPU.
    pub gpu_weights: usize,
    /// Share of the above that lies in GPU memory.
    pub gpu: usize,
}

impl MemoryPlan {
    /// All of it.
    pub fn total_bytes(&self) -> usize {
        self.weights
            + self.vocabulary
            + self.scratch
            + self.activations
            + self.cache
            + self.adapter
            + self.optimizer
            + self.gpu_weights
    }
}

impl Model {
    /// What generating within a context of `tokens` takes where prompts and replies are computed now.
    pub fn plan_inference(&self, tokens: usize) -> MemoryPlan {
        let prefill = self.generation_on(self.sides.of(Work::Prefill), tokens, true);
        let decode = self.sides.of(Work::Decode);
        if decode.place == self.sides.of(Work::Prefill).place {
            return prefill;
        }
        // Two devices, with a cache each.
        let decode = self.generation_on(decode, tokens, false);
        MemoryPlan {
            scratch: prefill.scratch + decode.scratch,
            activations: prefill.activations + decode.activations,
            cache: prefill.cache + decode.cache,
            gpu: prefill.gpu + decode.gpu,
            ..prefill
        }
    }

    fn generation_on(&self, placed: &Placed, tokens: usize, prompts: bool) -> MemoryPlan {
        let (arch, vocab) = (&self.arch, self.arch.vocab);
        let rows = tokens.clamp(1, crate::cache::PREFILL_TOKENS);
        let scratch = |rows| {
            let layers = 0..arch.layers;
            let block =
                |layer| placed.compiled_block(layer, None, Mode::Infer, rows).1.peak_bytes();
            layers.map(block).max().unwrap_or(0)
        };
        let head = placed.compiled_head(HeadMode::Logits, 1).1.peak_bytes();
        let plan = MemoryPlan {
            scratch: scratch(if prompts { rows } else { 1 }).max(head),
            activations: 4 * (2 * rows * arch.width + 2 * vocab),
            cache: 2 * 2 * arch.layers * tokens * arch.kv_width(),
            ..self.fixed_plan()
        };
        plan.at(placed.place)
    }

    /// What training an adapter of `config` on sequences of at most `tokens` tokens takes where
    /// training is done now.
    pub fn plan_training(&self, config: &LoraConfig, tokens: usize) -> MemoryPlan {
        let placed = self.sides.of(Work::Training);
        let rows = tokens.max(1);
        let arch = &self.arch;
        let layout = Layout::new(arch, config);
        let parameters = 4 * layout.len();
        let per_layer = 4 * layout.layer_len_max();
        let blocks = (0..arch.layers).map(|layer| {
            placed.compiled_block(layer, Some(&layout), Mode::Backward, rows).1.peak_bytes()
        });
        let pieces = rows.min(crate::trace::HEAD_ROWS);
        let head = placed.compiled_head(HeadMode::Backward, pieces).1.peak_bytes();
        let plan = MemoryPlan {
            scratch: blocks.max().unwrap_or(0).max(head),
            activations: 4 * arch.width * ((arch.layers + 2) * rows + 2 * pieces),
            // Gradients land in buffers like a layer's pairs, and then in a row.
            adapter: parameters + 2 * per_layer,
            optimizer: 4 * parameters,
            ..self.fixed_plan()
        };
        plan.at(placed.place)
    }

    /// What every run of this model takes.
    fn fixed_plan(&self) -> MemoryPlan {
        MemoryPlan {
            weights: self.gguf().tensors().iter().map(|t| t.range.len()).sum(),
            vocabulary: self.gguf().data_start(),
            gpu_weights: self.sides.gpu().map_or(0, |gpu| gpu.weights.bytes()),
            ..MemoryPlan::default()
        }
    }
}

impl MemoryPlan {
    /// With the share of the GPU, if that is where the work is done.
    fn at(mut self, place: Place) -> MemoryPlan {
        let MemoryPlan { scratch, activations, cache, adapter, gpu_weights, .. } = self;
        if place == Place::Gpu {
            self.gpu = gpu_weights + scratch + activations + cache + adapter;
        }
        self
    }
}
