//! A language model on its devices: tokens in, logits and log-probabilities out.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sapwood_kernels::{Device, DeviceError};

use crate::adapter::{Adapter, Digest, Layout, LoraConfig};
use crate::adapter_file::{AdapterError, AdapterFile, Provenance};
use crate::arch::Arch;
use crate::devices::{Devices, Place, Sides, Work};
use crate::error::ModelError;
use crate::gguf::{Gguf, fingerprint};
use crate::mmap::Mapped;
use crate::template::Template;
use crate::tokenizer::Tokenizer;

/// A model file that was checked, mapped and bound to the processor, and to a GPU if there is one.
///
/// All methods take `&self`: any number of threads may generate with their own [`Cache`](crate::Cache), and a
/// device runs one program at a time.
pub struct Model {
    pub(crate) sides: Sides,
    gguf: Gguf,
    file: Mapped,
    pub(crate) arch: Arc<Arch>,
    tokenizer: Tokenizer,
    template: Option<Template>,
    fingerprint: OnceLock<Digest>,
}

impl Model {
    /// Opens a GGUF model file, mapping its weights.
    ///
    /// # Errors
    /// A file that can't be read, that breaks a rule of the format, or whose architecture, block
    /// types or tokenizer are not supported: each names the offender.
    pub fn open(path: &Path, devices: impl Into<Devices>) -> Result<Model, ModelError> {
        Model::from_mapped(Mapped::open(path)?, devices)
    }

    /// Opens a model that is already in memory or mapped.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_mapped(file: Mapped, devices: impl Into<Devices>) -> Result<Model, ModelError> {
        let gguf = Gguf::parse(file.bytes())?;
        let arch = Arc::new(Arch::from_gguf(&gguf)?);
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let template = Template::from_gguf(&gguf, &tokenizer).ok();
        let sides = Sides::new(&gguf, &file, &arch, devices.into())?;
        Ok(Model { sides, gguf, file, arch, tokenizer, template, fingerprint: OnceLock::new() })
    }

    /// The device that does `work` now.
    pub fn device(&self, work: Work) -> &Device {
        &self.sides.of(work).device
    }

    /// The device at `place`.
    ///
    /// # Panics
    /// If the model was opened without a GPU and that is asked for: see [`Model::gpu`].
    pub fn device_at(&self, place: Place) -> &Device {
        &self.sides.at(place).device
    }

    /// The GPU that the model was opened on, whether or not it is used.
    pub fn gpu(&self) -> Option<&Device> {
        self.sides.gpu().map(|gpu| &gpu.device)
    }

    /// Why the GPU is not used any more, if it has failed. Nothing is lost by it: what it did is
    /// computed again by the processor, which does its work from then on.
    pub fn gpu_fault(&self) -> Option<DeviceError> {
        self.sides.fault()
    }

    /// Has `work` done at `place` from now on; without a sound GPU it is the processor's. A model
    /// that was opened on a GPU begins with everything there.
    pub fn assign(&self, work: Work, place: Place) {
        self.sides.assign(work, place);
    }

    /// Forbids the GPU, or allows it again: some systems end an app that uses it in the background.
    pub fn allow_gpu(&self, allowed: bool) {
        self.sides.allow_gpu(allowed);
    }

    /// Validated hyper-parameters.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// Metadata and tensor table of the file.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The tokenizer of the file.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template of the file.
    ///
    /// # Errors
    /// [`ModelError::NoTemplate`] for a model that was not made for chats.
    pub fn template(&self) -> Result<&Template, ModelError> {
        self.template.as_ref().ok_or(ModelError::NoTemplate)
    }

    /// Digest of hyper-parameters, tokenizer, template and all tensor data: what an adapter was
    /// trained for. Computed once; reads the whole file.
    pub fn fingerprint(&self) -> Digest {
        *self.fingerprint.get_or_init(|| fingerprint(&self.gguf, self.file.bytes()))
    }

    /// A new adapter that changes nothing yet.
    pub fn new_adapter(&self, config: &LoraConfig, seed: u64) -> Adapter {
        self.adapter(config, &Layout::new(&self.arch, config).init(seed))
    }

    /// An adapter of `config` with the given parameters.
    ///
    /// # Panics
    /// If `values` has not the length of the [`Layout`] of `config` on this model.
    pub fn adapter(&self, config: &LoraConfig, values: &[f32]) -> Adapter {
        Adapter::new(&self.sides.cpu.device, Layout::new(&self.arch, config), values)
    }

    /// Puts an adapter file on the device.
    ///
    /// # Errors
    /// [`AdapterError`] if its provenance names another base model or chat template. What the
    /// file's own check has passed otherwise fits.
    pub fn load_adapter(&self, file: &AdapterFile) -> Result<Adapter, AdapterError> {
        file.check_base(|| self.fingerprint())?;
        Ok(Adapter::from_file(&self.sides.cpu.device, &self.arch, file))
    }

    /// The file of an adapter of this model. With a `provenance`, it is refused by other models.
    pub fn adapter_file(&self, adapter: &Adapter, provenance: Option<Provenance>) -> AdapterFile {
        adapter.to_file(self.arch.name, provenance)
    }

    /// Row of the embedding table: C values.
    ///
    /// # Panics
    /// If `id` is not in the vocabulary.
    pub fn token_embedding(&self, id: u32, out: &mut [f32]) {
        let weights = &self.sides.cpu.weights;
        let row = weights.embedding_row(self.file.bytes(), id, &self.arch);
        weights.embedding_quant.dequantize(row, out);
    }

    pub(crate) fn check_ids(&self, ids: &[u32]) -> Result<(), ModelError> {
        if ids.is_empty() {
            return Err(ModelError::NoTokens);
        }
        match ids.iter().find(|&&id| id as usize >= self.arch.vocab) {
            Some(&id) => Err(ModelError::UnknownToken { id, vocab: self.arch.vocab }),
            None => Ok(()),
        }
    }
}
