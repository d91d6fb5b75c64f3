//! Memory, known before the first step.

use crate::adapter::{Layout, LoraConfig};
use crate::block::Mode;
use crate::head::HeadMode;
use crate::model::Model;

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
    }
}

impl Model {
    /// What generating within a context of `tokens` takes.
    pub fn plan_inference(&self, tokens: usize) -> MemoryPlan {
        let rows = tokens.clamp(1, crate::cache::PREFILL_TOKENS);
        let (arch, vocab) = (&self.arch, self.arch.vocab);
        let scratch = (0..arch.layers)
            .map(|layer| self.compiled_block(layer, None, Mode::Infer, rows).1.peak_bytes());
        let head = self.compiled_head(HeadMode::Logits, 1).1.peak_bytes();
        MemoryPlan {
            scratch: scratch.max().unwrap_or(0).max(head),
            activations: 4 * (2 * rows * arch.width + 2 * vocab),
            cache: 2 * 2 * arch.layers * tokens * arch.kv_width(),
            ..self.fixed_plan()
        }
    }

    /// What training an adapter of `config` on sequences of at most `tokens` tokens takes.
    pub fn plan_training(&self, config: &LoraConfig, tokens: usize) -> MemoryPlan {
        let rows = tokens.max(1);
        let arch = &self.arch;
        let layout = Layout::new(arch, config);
        let parameters = 4 * layout.len();
        let per_layer = parameters / arch.layers;
        let blocks = (0..arch.layers).map(|layer| {
            self.compiled_block(layer, Some(&layout), Mode::Backward, rows).1.peak_bytes()
        });
        let pieces = rows.min(crate::trace::HEAD_ROWS);
        let head = self.compiled_head(HeadMode::Backward, pieces).1.peak_bytes();
        MemoryPlan {
            scratch: blocks.max().unwrap_or(0).max(head),
            activations: 4 * arch.width * ((arch.layers + 2) * rows + 2 * pieces),
            adapter: parameters + per_layer,
            optimizer: 4 * parameters,
            ..self.fixed_plan()
        }
    }

    /// What every run of this model takes.
    fn fixed_plan(&self) -> MemoryPlan {
        MemoryPlan {
            weights: self.gguf().tensors().iter().map(|t| t.range.len()).sum(),
            vocabulary: self.gguf().data_start(),
            ..MemoryPlan::default()
        }
    }
}
