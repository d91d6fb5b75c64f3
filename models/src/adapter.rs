//! LoRA adapters: the only thing that is ever trained.
//!
//! Parameters are one flat vector: for each layer, for each adapted linear in the order of
//! [`Target::ALL`], A (R, I) and then B (O, R), row-major. The optimizer, checkpoints and digests
//! all see that vector; devices see one pair of buffers per adapted linear. The processor always has them; a GPU gets a
//! copy when it first computes with the adapter.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Buffer, Device};

use crate::adapter_file::{AdapterFile, Pair, Provenance};
use crate::arch::{Arch, LayerTensor};
use crate::block::{PairKind, Target};
use crate::devices::Place;
use crate::placed::Placed;

/// SHA-256 of an adapter's shape and parameters.
pub type Digest = [u8; 32];

/// Rank, strength and place of a new adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank R of every pair, 1..=256.
    pub rank: usize,
    /// The pair is added with the factor alpha / rank.
    pub alpha: f32,
    /// The linears that get a pair, in every layer.
    pub targets: Vec<Target>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig { rank: 8, alpha: 16.0, targets: Target::ALL.to_vec() }
    }
}

/// Place of one pair in the flat parameter vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairSpec {
    /// Layer, from 0.
    pub layer: usize,
    /// The adapted linear.
    pub target: Target,
    /// Rank R.
    pub rank: usize,
    /// Width I of the linear's input.
    pub inputs: usize,
    /// Width O of the linear's output.
    pub outputs: usize,
    /// Where A starts; B follows it.
    pub offset: usize,
}

impl PairSpec {
    /// Parameters of A.
    pub fn a_len(&self) -> usize {
        self.rank * self.inputs
    }

    /// Parameters of B.
    pub fn b_len(&self) -> usize {
        self.rank * self.outputs
    }
}

/// Order and shape of all pairs of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pairs: Vec<PairSpec>,
    alpha: f32,
    len: usize,
}

impl Layout {
    /// The layout of `config` on a model of architecture `arch`.
    pub fn new(arch: &Arch, config: &LoraConfig) -> Layout {
        let ranks = (0..arch.layers).flat_map(|layer| {
            Target::ALL
                .into_iter()
                .filter(|target| config.targets.contains(target))
                .map(move |target| (layer, target, config.rank))
        });
        Layout::from_ranks(arch, config.alpha, ranks)
    }

    /// A layout with a rank of its own for each pair, as files may have; `ranks` comes ordered by
    /// layer and then by [`Target::ALL`].
    pub(crate) fn from_ranks(
        arch: &Arch,
        alpha: f32,
        ranks: impl Iterator<Item = (usize, Target, usize)>,
    ) -> Layout {
        let mut len = 0;
        let pairs = ranks
            .map(|(layer, target, rank)| {
                let (outputs, inputs) = target.shape(arch);
                let pair = PairSpec { layer, target, rank, inputs, outputs, offset: len };
                len += pair.a_len() + pair.b_len();
                pair
            })
            .collect();
        Layout { pairs, alpha, len }
    }

    /// All pairs, ordered by layer and then by [`Target::ALL`].
    pub fn pairs(&self) -> &[PairSpec] {
        &self.pairs
    }

    /// The pair on one linear, if there is one.
    pub fn pair(&self, layer: usize, target: Target) -> Option<&PairSpec> {
        self.pairs.iter().find(|p| (p.layer, p.target) == (layer, target))
    }

    /// Kinds of the pairs of one layer, by [`Target::ALL`].
    pub(crate) fn kinds(&self, layer: usize) -> [Option<PairKind>; 7] {
        let mut kinds = [None; 7];
        for pair in self.pairs.iter().filter(|p| p.layer == layer) {
            let scale = self.alpha / pair.rank as f32;
            kinds[pair.target as usize] =
                Some(PairKind { rank: pair.rank, scale_bits: scale.to_bits() });
        }
        kinds
    }

    /// Parameters of the layer that has most of them.
    pub(crate) fn layer_len_max(&self) -> usize {
        let layers = self.pairs.chunk_by(|a, b| a.layer == b.layer);
        let len = |pairs: &[PairSpec]| pairs.iter().map(|p| p.a_len() + p.b_len()).sum();
        layers.map(len).max().unwrap_or(0)
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is adapted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fresh parameters: A uniform within ±1/√I (Kaiming with a = √5, as PEFT starts), B zero, so
    /// that a new adapter changes nothing.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        let mut random = SplitMix64(seed);
        for pair in &self.pairs {
            let bound = 1.0 / (pair.inputs as f32).sqrt();
            for value in &mut values[pair.offset..pair.offset + pair.a_len()] {
                *value = random.signed() * bound;
            }
        }
        values
    }
}

fn target_of(tensor: LayerTensor) -> Target {
    let found = Target::ALL.into_iter().find(|target| target.tensor() == tensor);
    found.expect("an adapter file holds only the seven linears")
}

/// A LoRA adapter, ready to be used by a [`Model`](crate::Model).
pub struct Adapter {
    /// Tells it from every other one of this process, whatever its parameters.
    id: u64,
    cpu: Device,
    layout: Layout,
    pairs: Pairs,
    /// The same on the GPU, from its first use there on.
    on_gpu: OnceLock<(Device, Pairs)>,
    digest: OnceLock<Digest>,
}

/// A and B of each pair of the layout.
type Pairs = Vec<(Buffer, Buffer)>;

impl Adapter {
    /// Puts `values`, which are laid out by `layout`, on the processor.
    pub(crate) fn new(cpu: &Device, layout: Layout, values: &[f32]) -> Adapter {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let mut adapter = Adapter {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            cpu: cpu.clone(),
            pairs: make(cpu, &layout),
            on_gpu: OnceLock::new(),
            layout,
            digest: OnceLock::new(),
        };
        adapter.write(values);
        adapter
    }

    /// Replaces all parameters: what a training step does.
    pub fn write(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.layout.len, "one value per parameter");
        write(&self.cpu, &self.layout, &self.pairs, values);
        if let Some((gpu, pairs)) = self.on_gpu.get() {
            write(gpu, &self.layout, pairs, values);
        }
        self.digest = OnceLock::new();
    }

    pub(crate) fn from_file(device: &Device, arch: &Arch, file: &AdapterFile) -> Adapter {
        let ranks = file.pairs.iter().map(|p| (p.layer, target_of(p.tensor), p.rank));
        let layout = Layout::from_ranks(arch, file.alpha, ranks);
        let values: Vec<f32> =
            file.pairs.iter().flat_map(|p| p.a.iter().chain(&p.b)).copied().collect();
        Adapter::new(device, layout, &values)
    }

    pub(crate) fn to_file(
        &self,
        architecture: &str,
        provenance: Option<Provenance>,
    ) -> AdapterFile {
        let values = self.values();
        let pair = |p: &PairSpec| {
            let (a, rest) = values[p.offset..].split_at(p.a_len());
            let b = rest[..p.b_len()].to_vec();
            Pair { layer: p.layer, tensor: p.target.tensor(), rank: p.rank, a: a.to_vec(), b }
        };
        AdapterFile {
            architecture: architecture.to_owned(),
            alpha: self.layout.alpha,
            pairs: self.layout.pairs.iter().map(pair).collect(),
            provenance,
        }
    }

    /// All parameters.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.layout.len];
        for (pair, (a, b)) in self.layout.pairs.iter().zip(&self.pairs) {
            let (a_values, rest) = values[pair.offset..].split_at_mut(pair.a_len());
            self.cpu.read(a, 0, a_values);
            self.cpu.read(b, 0, &mut rest[..pair.b_len()]);
        }
        values
    }

    /// Order and shape of the parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// SHA-256 of shape and parameters: the identity of the adapter, which keys KV caches.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
            hash.update(&self.layout.alpha.to_le_bytes());
            for pair in &self.layout.pairs {
                for field in [pair.layer, pair.target as usize, pair.rank] {
                    hash.update(&(field as u64).to_le_bytes());
                }
            }
            for chunk in self.values().chunks(4096) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
                hash.update(&bytes);
            }
            hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
        })
    }

    /// What tells its buffers from those of every other adapter.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Buffers of A and B of one pair, if there is one, where the model computes.
    pub(crate) fn buffers(
        &self,
        placed: &Placed,
        layer: usize,
        target: Target,
    ) -> Option<&(Buffer, Buffer)> {
        let index =
            self.layout.pairs.iter().position(|p| (p.layer, p.target) == (layer, target))?;
        match placed.place {
            Place::Cpu => self.pairs.get(index),
            Place::Gpu => self.uploaded(&placed.device).get(index),
        }
    }

    fn uploaded(&self, gpu: &Device) -> &Pairs {
        let upload = || {
            let pairs = make(gpu, &self.layout);
            write(gpu, &self.layout, &pairs, &self.values());
            (gpu.clone(), pairs)
        };
        &self.on_gpu.get_or_init(upload).1
    }
}

fn make(device: &Device, layout: &Layout) -> Pairs {
    let mut pairs = Vec::with_capacity(layout.pairs.len());
    // What a block uses lies together.
    for layer in layout.pairs.chunk_by(|a, b| a.layer == b.layer) {
        let shapes = layer.iter().flat_map(|p| [(p.rank, p.inputs), (p.outputs, p.rank)]);
        let mut made = device.zeros_together(&shapes.collect::<Vec<_>>()).into_iter();
        while let (Some(a), Some(b)) = (made.next(), made.next()) {
            pairs.push((a, b));
        }
    }
    pairs
}

fn write(device: &Device, layout: &Layout, pairs: &Pairs, values: &[f32]) {
    for (pair, (a, b)) in layout.pairs.iter().zip(pairs) {
        let (a_values, rest) = values[pair.offset..].split_at(pair.a_len());
        device.write(a, 0, a_values);
        device.write(b, 0, &rest[..pair.b_len()]);
    }
}
