//! The loop through its public API, on the embedded model: replies under swaps, training that is
//! stopped and killed, and everything that can be wrong with a file, a disk or a key.

#![allow(clippy::unwrap_used)]

mod bases;
mod clock;
mod consent;
mod conversation;
mod device;
mod export;
mod forget;
mod full;
mod judging;
mod left_out;
mod long;
mod older;
mod privacy;
mod processes;
mod refusal;
mod retention;
mod shred;
mod swaps;
mod training;

use std::sync::Arc;

use sapwood::disk::sim::SimDisk;
use sapwood::sample::Sampling;
use sapwood::{Config, Learner, Options};
use sapwood_kernels::Device;
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{EMBEDDED, LoraConfig, Mapped, Model, Provenance, Target};

const KEY: [u8; 32] = [7; 32];

fn model() -> Model {
    Model::from_mapped(Mapped::from_static(EMBEDDED), &Device::cpu(Some(2))).unwrap()
}

/// A learner's settings with a clock that stands still, so that a run depends on its data alone.
fn config() -> Config {
    let mut config = Config::new("unused", KEY);
    config.context_tokens = 512;
    config.clock = Arc::new(|| 1_700_000_000_000);
    config
}

fn open(disk: &SimDisk, config: Config) -> Learner {
    Learner::open_on(Arc::new(disk.clone()), model(), config).unwrap()
}

fn greedy(max_tokens: usize) -> Options {
    Options { sampling: Sampling::greedy(), max_tokens, record: true }
}

/// The file of an adapter with random values, strong enough to change what the model says.
fn adapter_bytes(model: &Model, seed: u64) -> Vec<u8> {
    let lora = LoraConfig { rank: 1, alpha: 1.0, targets: vec![Target::O, Target::Down] };
    let mut random = SplitMix64(seed);
    let values = model.new_adapter(&lora, seed).values();
    let values: Vec<f32> = values.iter().map(|_| random.signed() * 0.5).collect();
    let provenance = Provenance {
        base_fingerprint: model.fingerprint(),
        template_digest: model.template().unwrap().digest(),
        parent: None,
        seed,
        lineage: Vec::new(),
    };
    model.adapter_file(&model.adapter(&lora, &values), Some(provenance)).to_bytes()
}
