//! Which model and device a command works on.

use std::path::PathBuf;

use sapwood::placement::{self, Opening, Placement, Wanted};
use sapwood_models::{Adapter, AdapterFile, Mapped, Model};

use crate::output::Failure;

/// Model and device, as all commands take them.
#[derive(clap::Args)]
pub struct ModelArguments {
    /// GGUF model file; without it, the embedded model
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArguments,
}

/// Where to compute.
#[derive(clap::Args, Clone, Copy)]
pub struct DeviceArguments {
    /// Threads; by default one per core
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to compute
    #[arg(
        long,
        value_name = "WHERE",
        env = "SAPWOOD_DEVICE",
        hide_env_values = true,
        default_value = "auto"
    )]
    pub device: Where,
}

/// What `--device` takes.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// The faster one for each kind of work
    Auto,
    /// The processor
    Cpu,
    /// The GPU, even one that the processor emulates
    Gpu,
}

impl Where {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Where::Auto => "auto",
            Where::Cpu => "cpu",
            Where::Gpu => "gpu",
        }
    }
}

impl DeviceArguments {
    /// Opens a model there, and tells what does what.
    pub fn open(&self, file: Mapped) -> Result<(Model, Placement), Failure> {
        let wanted = match self.device {
            Where::Auto => Wanted::Auto,
            Where::Cpu => Wanted::Cpu,
            Where::Gpu => Wanted::Gpu,
        };
        let opening = Opening { wanted, threads: self.threads, cache: cache() };
        Ok(placement::open(file, &opening)?)
    }
}

/// The user's folder for what can be made again.
fn cache() -> Option<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    Some(folder?.join("sapwood"))
}

impl ModelArguments {
    /// The file, mapped.
    pub fn file(&self) -> Result<Mapped, Failure> {
        self.model.as_ref().map_or_else(|| Ok(embedded()), |path| Ok(Mapped::open(path)?))
    }

    /// Opens the model.
    pub fn open(&self) -> Result<Model, Failure> {
        Ok(self.device.open(self.file()?)?.0)
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
