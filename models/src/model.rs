//! A language model on a device: tokens in, logits and log-probabilities out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use sapwood_kernels::{Buffer, Cursor, Device, Exec, Slot};

use crate::adapter::{Adapter, Digest, Layout, LoraConfig};
use crate::adapter_file::{AdapterError, AdapterFile, Provenance};
use crate::arch::Arch;
use crate::block::{Block, BlockKind, Mode, Target, block};
use crate::error::ModelError;
use crate::gguf::{Gguf, fingerprint};
use crate::head::{Embed, Head, HeadMode, embed, head};
use crate::mmap::Mapped;
use crate::template::Template;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// A model file that was checked, mapped and bound to a device.
///
/// All methods take `&self`: any number of threads may generate with their own [`Cache`], and the
/// device runs one program at a time.
pub struct Model {
    pub(crate) device: Device,
    gguf: Gguf,
    file: Mapped,
    pub(crate) arch: Arch,
    tokenizer: Tokenizer,
    template: Option<Template>,
    weights: Weights,
    compiled: Mutex<HashMap<Key, Compiled>>,
    fingerprint: OnceLock<Digest>,
}

/// A program that was compiled for at most `rows` tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    program: ProgramKey,
    rows: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum ProgramKey {
    Embed,
    Block(BlockKind, Mode),
    Head(HeadMode),
}

#[derive(Clone)]
enum Compiled {
    Embed(Arc<(Embed, Exec)>),
    Block(Arc<(Block, Exec)>),
    Head(Arc<(Head, Exec)>),
}

/// Programs are compiled for a multiple of this many rows (or for one), so that sequences of
/// similar length share them.
const ROW_STEP: usize = 32;

impl Model {
    /// Opens a GGUF model file, mapping its weights.
    ///
    /// # Errors
    /// A file that can't be read, that breaks a rule of the format, or whose architecture, block
    /// types or tokenizer are not supported: each names the offender.
    pub fn open(path: &Path, device: &Device) -> Result<Model, ModelError> {
        Model::from_mapped(Mapped::open(path)?, device)
    }

    /// Opens a model that is already in memory or mapped.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_mapped(file: Mapped, device: &Device) -> Result<Model, ModelError> {
        let gguf = Gguf::parse(file.bytes())?;
        let arch = Arch::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let template = Template::from_gguf(&gguf, &tokenizer).ok();
        let weights = Weights::bind(&gguf, &file, &arch, device)?;
        Ok(Model {
            device: device.clone(),
            gguf,
            file,
            arch,
            tokenizer,
            template,
            weights,
            compiled: Mutex::default(),
            fingerprint: OnceLock::new(),
        })
    }

    /// The device that the model is bound to.
    pub fn device(&self) -> &Device {
        &self.device
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
        Adapter::new(&self.device, Layout::new(&self.arch, config), values)
    }

    /// Puts an adapter file on the device.
    ///
    /// # Errors
    /// [`AdapterError`] if its provenance names another base model or chat template. What the
    /// file's own check has passed otherwise fits.
    pub fn load_adapter(&self, file: &AdapterFile) -> Result<Adapter, AdapterError> {
        file.check_base(|| self.fingerprint())?;
        Ok(Adapter::from_file(&self.device, &self.arch, file))
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
        let row = self.weights.embedding_row(self.file.bytes(), id, &self.arch);
        self.weights.embedding_quant.dequantize(row, out);
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

    pub(crate) fn embed(&self, ids: &[u32], ids_buffer: &Buffer, out: &Buffer, cursor: Cursor) {
        let Compiled::Embed(compiled) = self.compiled(ProgramKey::Embed, ids.len()) else {
            unreachable!("the key names an embedding")
        };
        let (program, exec) = &*compiled;
        self.device.write_ids(ids_buffer, 0, ids);
        let bindings = [
            (program.ids, ids_buffer),
            (program.table, &self.weights.embedding),
            (program.out, out),
        ];
        self.device.run(exec, &exec.bind(&bindings), cursor);
    }

    pub(crate) fn run_head(
        &self,
        mode: HeadMode,
        rows: usize,
        x: &Buffer,
        targets: Option<&Buffer>,
        seed: Option<&Buffer>,
        out: &Buffer,
    ) {
        let compiled = self.compiled_head(mode, rows);
        let (program, exec) = &*compiled;
        let mut bindings = vec![
            (program.x, x),
            (program.norm, &self.weights.output_norm),
            (program.head, self.weights.head()),
            (program.out, out),
        ];
        for (slot, buffer) in [(program.targets, targets), (program.seed, seed)] {
            if let Some(slot) = slot {
                bindings.push((slot, buffer.expect("this head reads it")));
            }
        }
        self.device.run(exec, &exec.bind(&bindings), Cursor { pos: 0, tokens: rows });
    }

    pub(crate) fn compiled_head(&self, mode: HeadMode, rows: usize) -> Arc<(Head, Exec)> {
        match self.compiled(ProgramKey::Head(mode), rows) {
            Compiled::Head(compiled) => compiled,
            _ => unreachable!("the key names a head"),
        }
    }

    pub(crate) fn compiled_block(
        &self,
        layer: usize,
        layout: Option<&Layout>,
        mode: Mode,
        rows: usize,
    ) -> Arc<(Block, Exec)> {
        let kind = BlockKind {
            quants: self.weights.layers[layer].quants,
            sliding: self.arch.is_sliding(layer),
            pairs: layout.map_or([None; 7], |layout| layout.kinds(layer)),
        };
        match self.compiled(ProgramKey::Block(kind, mode), rows) {
            Compiled::Block(compiled) => compiled,
            _ => unreachable!("the key names a block"),
        }
    }

    fn compiled(&self, program: ProgramKey, rows: usize) -> Compiled {
        let rows = if rows == 1 { 1 } else { rows.next_multiple_of(ROW_STEP) };
        let key = Key { program, rows };
        let mut compiled = self.compiled.lock().expect("no panic while compiling");
        if let Some(found) = compiled.get(&key) {
            return found.clone();
        }
        let made = match &key.program {
            ProgramKey::Embed => {
                let embed = embed(&self.arch, self.weights.embedding_quant);
                let exec = self.device.compile(&embed.program, rows);
                Compiled::Embed(Arc::new((embed, exec)))
            }
            ProgramKey::Block(kind, mode) => {
                let block = block(&self.arch, kind, *mode);
                let exec = self.device.compile(&block.program, rows);
                Compiled::Block(Arc::new((block, exec)))
            }
            ProgramKey::Head(mode) => {
                let head = head(&self.arch, self.weights.head_quant(), *mode);
                let exec = self.device.compile(&head.program, rows);
                Compiled::Head(Arc::new((head, exec)))
            }
        };
        compiled.insert(key, made.clone());
        made
    }

    /// Buffers of everything that belongs to the layer: weights and adapter.
    pub(crate) fn bind_block<'a>(
        &'a self,
        block: &Block,
        layer: usize,
        adapter: Option<&'a Adapter>,
    ) -> Vec<(Slot, &'a Buffer)> {
        let mut bindings: Vec<(Slot, &Buffer)> = Vec::new();
        for &(tensor, slot) in &block.weights {
            bindings.push((slot, self.weights.layers[layer].get(tensor)));
        }
        if let Some(slot) = block.rope_factors {
            let factors = self.weights.rope_factors.as_ref();
            bindings.push((slot, factors.expect("the architecture has rope factors")));
        }
        for (target, pair) in Target::ALL.into_iter().zip(block.pairs) {
            if let Some((a, b)) = pair {
                let adapter = adapter.expect("compiled for this adapter");
                let buffers = adapter.buffers(layer, target).expect("compiled for this adapter");
                bindings.push((a, &buffers.0));
                bindings.push((b, &buffers.1));
            }
        }
        bindings
    }
}
