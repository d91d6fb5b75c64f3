//! Which model and device a command works on.

use std::path::PathBuf;

use sapwood_kernels::Device;
use sapwood_models::{Adapter, AdapterFile, Mapped, Model};

use crate::output::Failure;

/// Model and device, as all commands take them.
#[derive(clap::Args)]
pub struct ModelArguments {
    /// GGUF model file; without it, the embedded model
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Threads; by default one per core
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Option<usize>,
}

impl ModelArguments {
    /// The device that was asked for.
    pub fn device(&self) -> Device {
        Device::cpu(self.threads)
    }

    /// Opens the model.
    pub fn open(&self) -> Result<Model, Failure> {
        let device = self.device();
        match &self.model {
            Some(path) => Ok(Model::open(path, &device)?),
            None => Ok(Model::from_mapped(embedded(), &device)?),
        }
    }

    /// What to call the model in output.
    pub fn name(&self) -> String {
        let path = self.model.as_ref();
        path.map_or_else(|| "embedded".to_owned(), |path| path.display().to_string())
    }
}

/// The embedded default model.
pub fn embedded() -> Mapped {
    Mapped::from_static(sapwood_models::EMBEDDED)
}

/// An optional adapter for the model.
#[derive(clap::Args)]
pub struct AdapterArguments {
    /// LoRA adapter in GGUF
    #[arg(long, value_name = "FILE")]
    pub lora: Option<PathBuf>,
}

impl AdapterArguments {
    /// Loads the adapter, if one was given.
    pub fn open(&self, model: &Model) -> Result<Option<Adapter>, Failure> {
        let Some(path) = &self.lora else { return Ok(None) };
        Ok(Some(model.load_adapter(&AdapterFile::open(path, model.arch())?)?))
    }
}
