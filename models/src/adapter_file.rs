//! LoRA adapters as files: llama.cpp's GGUF format, with keys of our own that it ignores.
//!
//! Beside each adapted tensor `T` of the base the file has `T.lora_a` (R, I) and `T.lora_b`
//! (O, R); the pair adds `alpha / R · B A` to the weight. llama.cpp checks neither which base an
//! adapter was made for nor whether its values are sane; this reader does both.

use std::path::Path;

use crate::arch::{Arch, LayerTensor};
use crate::gguf::{Gguf, GgufError, GgufWriter, TensorInfo, Value};
use crate::mmap::{MapError, Mapped};
use sapwood_kernels::quant::Quant;

/// Largest rank of a pair.
pub const RANK_MAX: usize = 256;
/// Largest magnitude of a value.
pub const VALUE_MAX: f32 = 1e4;
/// Largest adapter file in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// An adapter in memory, independent of any device.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterFile {
    /// Architecture of the base.
    pub architecture: String,
    /// The pair of rank R is added with the factor alpha / R.
    pub alpha: f32,
    /// The adapted linears, ordered by layer and by use within the layer.
    pub pairs: Vec<Pair>,
    /// Which base it was trained for, and how; absent from adapters made elsewhere.
    pub provenance: Option<Provenance>,
}

/// The low-rank pair of one linear.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Layer, from 0.
    pub layer: usize,
    /// One of the seven linears.
    pub tensor: LayerTensor,
    /// Rank R, 1 to 256.
    pub rank: usize,
    /// Down projection (R, I), row-major.
    pub a: Vec<f32>,
    /// Up projection (O, R), row-major.
    pub b: Vec<f32>,
}

/// Where an adapter comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// [`fingerprint`](crate::gguf::fingerprint) of the base.
    pub base_fingerprint: [u8; 32],
    /// Digest of the chat template that turned conversations into tokens.
    pub template_digest: [u8; 32],
    /// Digest of the adapter that training started from.
    pub parent: Option<[u8; 32]>,
    /// Seed of the training run.
    pub seed: u64,
    /// What it was trained on: identifiers, never text.
    pub lineage: Vec<String>,
}

/// A file that is not an adapter for this base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] MapError),
    /// The file is not the GGUF that it should be.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A model, or an adapter of another kind.
    #[error("{key} is {found}, not {wanted}: name a LoRA adapter in GGUF format")]
    NotLora {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The only value accepted.
        wanted: &'static str,
    },
    /// Made for another architecture.
    #[error("the adapter is for architecture {found}, the model is {wanted}: use its own base")]
    WrongArchitecture {
        /// The adapter's.
        found: String,
        /// The model's.
        wanted: &'static str,
    },
    /// Made for another base of the same architecture.
    #[error("the adapter was trained for base {found}, the model is {wanted}: use its own base")]
    WrongBase {
        /// First eight bytes of the adapter's base fingerprint, in hexadecimal.
        found: String,
        /// First eight bytes of the model's fingerprint, in hexadecimal.
        wanted: String,
    },
    /// alpha is zero, negative or not finite.
    #[error("adapter.lora.alpha is {found}, but has to be finite and above zero: train it again")]
    BadAlpha {
        /// The value.
        found: f32,
    },
    /// A tensor that is not half of a pair on one of the seven linears of the base.
    #[error("tensor {tensor} adapts nothing that may be adapted: leave it out of the adapter")]
    NotAdaptable {
        /// The tensor.
        tensor: String,
    },
    /// Half a pair.
    #[error("tensor {tensor} has no {missing} beside it: convert the adapter again")]
    HalfPair {
        /// The half that is there.
        tensor: String,
        /// Suffix of the half that is not.
        missing: &'static str,
    },
    /// No pair at all.
    #[error("the adapter adapts nothing: convert it again")]
    Empty,
    /// A shape that does not follow from the base.
    #[error("tensor {tensor} is {found:?}, the base asks for {wanted}: use the adapter's own base")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Dimensions in the file, contiguous first.
        found: Vec<usize>,
        /// What the base asks for.
        wanted: String,
    },
    /// Neither F32 nor F16.
    #[error("tensor {tensor} is {found}, but has to be F32 or F16: convert the adapter again")]
    BlockType {
        /// The tensor.
        tensor: String,
        /// Its block type.
        found: &'static str,
    },
    /// Not a finite number of sane magnitude.
    #[error("tensor {tensor} holds a value that is not within ±{VALUE_MAX}: train it again")]
    BadValue {
        /// The tensor.
        tensor: String,
    },
    /// A digest that is not 64 hexadecimal digits.
    #[error("key {key} is not 64 hexadecimal digits: the file is damaged")]
    BadDigest {
        /// The key.
        key: &'static str,
    },
    /// The allocator refused memory for the adapter.
    #[error("no memory for {bytes} bytes of the adapter: free memory and try again")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// Bytes behind the last tensor.
    #[error("{found} bytes behind the last tensor: the file is damaged")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
}

impl AdapterFile {
    /// Read an adapter for a base of `arch` into memory; the file is not mapped.
    ///
    /// # Errors
    /// See [`AdapterError`]. Which base it was trained for is not checked here but by
    /// [`AdapterFile::check_base`].
    pub fn open(path: impl AsRef<Path>, arch: &Arch) -> Result<Self, AdapterError> {
        Self::parse(Mapped::read(path, FILE_BYTES_MAX)?.bytes(), arch)
    }

    /// As [`AdapterFile::open`], from the bytes of a whole file.
    ///
    /// # Errors
    /// As [`AdapterFile::open`].
    pub fn parse(file: &[u8], arch: &Arch) -> Result<Self, AdapterError> {
        let gguf = Gguf::parse(file)?;
        expect(&gguf, "general.type", "adapter")?;
        expect(&gguf, "adapter.type", "lora")?;
        let architecture = gguf.str("general.architecture")?.to_owned();
        if architecture != arch.name {
            let (found, wanted) = (architecture, arch.name);
            return Err(AdapterError::WrongArchitecture { found, wanted });
        }
        let alpha = gguf.f32("adapter.lora.alpha")?;
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(AdapterError::BadAlpha { found: alpha });
        }
        if gguf.trailing_bytes() > 0 {
            return Err(AdapterError::TrailingBytes { found: gguf.trailing_bytes() });
        }
        let provenance = Provenance::read(&gguf)?;
        let pairs = read_pairs(&gguf, file, arch)?;
        Ok(Self { architecture, alpha, pairs, provenance })
    }

    /// Refuse an adapter that names another base. `fingerprint` is asked only for an adapter
    /// that names one at all.
    ///
    /// # Errors
    /// [`AdapterError::WrongBase`].
    pub fn check_base(&self, fingerprint: impl FnOnce() -> [u8; 32]) -> Result<(), AdapterError> {
        let Some(provenance) = &self.provenance else { return Ok(()) };
        let (found, wanted) = (provenance.base_fingerprint, fingerprint());
        if found == wanted {
            return Ok(());
        }
        let short = |digest: [u8; 32]| hex(&digest)[..16].to_owned();
        Err(AdapterError::WrongBase { found: short(found), wanted: short(wanted) })
    }

    /// The file, with values as F32; the same adapter always gives the same bytes.
    ///
    /// # Panics
    /// On a pair whose tensor is not a linear or whose values are not R rows of A and R columns
    /// of B.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.put("general.type", "adapter");
        writer.put("general.architecture", self.architecture.as_str());
        writer.put("adapter.type", "lora");
        writer.put("adapter.lora.alpha", self.alpha);
        if let Some(provenance) = &self.provenance {
            provenance.write(&mut writer);
        }
        for pair in &self.pairs {
            let name = pair.tensor.full_name(pair.layer);
            assert!(pair.tensor.is_linear(), "{name} is a linear");
            assert!((1..=RANK_MAX).contains(&pair.rank), "{name}: rank {}", pair.rank);
            let bytes = |values: &[f32]| -> Vec<u8> {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
            let (inputs, outputs) = (pair.a.len() / pair.rank, pair.b.len() / pair.rank);
            let a = [inputs, pair.rank];
            writer.tensor(&format!("{name}.lora_a"), Quant::F32, &a, bytes(&pair.a));
            let b = [pair.rank, outputs];
            writer.tensor(&format!("{name}.lora_b"), Quant::F32, &b, bytes(&pair.b));
        }
        writer.to_bytes()
    }
}

fn expect(gguf: &Gguf, key: &'static str, wanted: &'static str) -> Result<(), AdapterError> {
    match gguf.str(key)? {
        found if found == wanted => Ok(()),
        found => Err(AdapterError::NotLora { key, found: found.to_owned(), wanted }),
    }
}

fn read_pairs(gguf: &Gguf, file: &[u8], arch: &Arch) -> Result<Vec<Pair>, AdapterError> {
    let mut pairs = with_room(gguf.tensors().len() / 2)?;
    for info in gguf.tensors() {
        let (target, is_a) = match info.name.strip_suffix(".lora_a") {
            Some(target) => (target, true),
            None => (info.name.strip_suffix(".lora_b").unwrap_or_default(), false),
        };
        let place = LayerTensor::parse(target)
            .filter(|(layer, tensor)| *layer < arch.layers && tensor.is_linear());
        let Some((layer, tensor)) = place else {
            return Err(AdapterError::NotAdaptable { tensor: info.name.clone() });
        };
        let missing = if is_a { ".lora_b" } else { ".lora_a" };
        let Some(other) = gguf.tensor(&format!("{target}{missing}")) else {
            return Err(AdapterError::HalfPair { tensor: info.name.clone(), missing });
        };
        if is_a {
            pairs.push(read_pair(layer, tensor, [info, other], file, arch)?);
        }
    }
    if pairs.is_empty() {
        return Err(AdapterError::Empty);
    }
    pairs.sort_unstable_by_key(|pair| (pair.layer, pair.tensor as usize));
    Ok(pairs)
}

fn read_pair(
    layer: usize,
    tensor: LayerTensor,
    [a, b]: [&TensorInfo; 2],
    file: &[u8],
    arch: &Arch,
) -> Result<Pair, AdapterError> {
    let (outputs, inputs) = tensor.shape(arch);
    let rank = a.rows;
    let shape = |info: &TensorInfo, wanted: String| AdapterError::Shape {
        tensor: info.name.clone(),
        found: info.dims.clone(),
        wanted,
    };
    if a.dims.len() > 2 || a.cols != inputs || !(1..=RANK_MAX).contains(&rank) {
        return Err(shape(a, format!("[{inputs}, rank] with a rank of 1 to {RANK_MAX}")));
    }
    if b.dims.len() > 2 || (b.rows, b.cols) != (outputs, rank) {
        return Err(shape(b, format!("[{rank}, {outputs}]")));
    }
    Ok(Pair { layer, tensor, rank, a: read_values(a, file)?, b: read_values(b, file)? })
}

fn read_values(info: &TensorInfo, file: &[u8]) -> Result<Vec<f32>, AdapterError> {
    if !matches!(info.quant, Quant::F32 | Quant::F16) {
        let found = info.quant.name();
        return Err(AdapterError::BlockType { tensor: info.name.clone(), found });
    }
    // The file has at least two bytes for each.
    let len = info.rows * info.cols;
    let mut values = with_room(len)?;
    values.resize(len, 0.0);
    info.quant.dequantize(&file[info.range.clone()], &mut values);
    // A NaN is within no range.
    if !values.iter().all(|value| value.abs() <= VALUE_MAX) {
        return Err(AdapterError::BadValue { tensor: info.name.clone() });
    }
    Ok(values)
}

/// An empty vector for `len` elements, where there is memory for it.
fn with_room<T>(len: usize) -> Result<Vec<T>, AdapterError> {
    let mut vec = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    vec.try_reserve_exact(len).map_err(|_| AdapterError::OutOfMemory { bytes })?;
    Ok(vec)
}

const BASE_FINGERPRINT: &str = "sapwood.base_fingerprint";
const TEMPLATE_DIGEST: &str = "sapwood.template_digest";
const PARENT: &str = "sapwood.parent";
const SEED: &str = "sapwood.seed";
const LINEAGE: &str = "sapwood.lineage";

impl Provenance {
    fn read(gguf: &Gguf) -> Result<Option<Self>, AdapterError> {
        if !gguf.metadata().any(|(key, _)| key.starts_with("sapwood.")) {
            return Ok(None);
        }
        let parent = gguf.opt_str(PARENT)?.map(|text| digest(PARENT, text)).transpose()?;
        let ids = gguf.opt_strings(LINEAGE)?;
        let mut lineage = with_room(ids.as_ref().map_or(0, ExactSizeIterator::len))?;
        for id in ids.into_iter().flatten() {
            let id = String::from_utf8(id.to_vec());
            lineage.push(id.map_err(|_| GgufError::NotUtf8 { key: LINEAGE.to_owned() })?);
        }
        Ok(Some(Self {
            base_fingerprint: digest(BASE_FINGERPRINT, gguf.str(BASE_FINGERPRINT)?)?,
            template_digest: digest(TEMPLATE_DIGEST, gguf.str(TEMPLATE_DIGEST)?)?,
            parent,
            seed: gguf.opt_u64(SEED)?.unwrap_or_default(),
            lineage,
        }))
    }

    fn write(&self, writer: &mut GgufWriter) {
        writer.put(BASE_FINGERPRINT, hex(&self.base_fingerprint).as_str());
        writer.put(TEMPLATE_DIGEST, hex(&self.template_digest).as_str());
        if let Some(parent) = &self.parent {
            writer.put(PARENT, hex(parent).as_str());
        }
        writer.put(SEED, Value::U64(self.seed));
        writer.put_strings(LINEAGE, &self.lineage);
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(key: &'static str, text: &str) -> Result<[u8; 32], AdapterError> {
    let bad = || AdapterError::BadDigest { key };
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(bad());
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.as_chunks::<2>().0) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = (value(pair[0]).ok_or_else(bad)?, value(pair[1]).ok_or_else(bad)?);
        *byte = (high * 16 + low) as u8;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
