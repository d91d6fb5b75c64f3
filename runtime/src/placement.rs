//! Opens a model on the devices that suit it: which GPU there is, and whether it is the faster one
//! for prompts, for replies and for training.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(feature = "gpu")]
use sapwood_kernels::GpuChoice;
use sapwood_kernels::{Device, DeviceError};
use sapwood_models::{Devices, Mapped, Model, ModelError, Place, Work};
use serde_json::{Map, Value, json};

/// Which device is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The faster one for each kind of work.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU, even one that the processor emulates.
    Gpu,
}

/// How a model is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Which device is wanted.
    pub wanted: Wanted,
    /// Compute threads of the processor; `None` for one per core.
    pub threads: Option<usize>,
    /// Folder for what was found out about the GPU and compiled for it, made if it is absent. It
    /// holds nothing of the user's and may be deleted at any time. `None`: it is found out at every
    /// opening.
    pub cache: Option<PathBuf>,
}

/// What does what, and why.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The processor, in words.
    pub cpu: String,
    /// The GPU in words, or why there is none to use.
    pub gpu: Result<String, DeviceError>,
    /// Where each kind of work is done.
    pub places: [(Work, Place); 3],
    /// Why there.
    pub why: String,
}

/// All measuring ends after this time. What is not known by then is left to the processor.
/// Compiling the GPU's kernels comes on top: whoever uses it needs them.
const MEASURING: Duration = Duration::from_millis(300);

/// Opens a model where `opening` wants it.
///
/// # Errors
/// As [`Model::from_mapped`], and [`ModelError::Gpu`] if a GPU is wanted and none can be used.
pub fn open(file: Mapped, opening: &Opening) -> Result<(Model, Placement), ModelError> {
    let cpu = Device::cpu(opening.threads);
    let gpu = match opening.wanted {
        Wanted::Cpu => Err(DeviceError::NoAdapter { found: "none was looked for".into() }),
        Wanted::Auto => open_gpu(opening, false),
        Wanted::Gpu => Ok(open_gpu(opening, true)?),
    };
    let model = Model::from_mapped(file, Devices::new(cpu.clone(), gpu.clone().ok()))?;
    // Its memory may be too small for the weights.
    let gpu = gpu.and_then(|gpu| model.gpu_fault().map_or(Ok(gpu), Err));
    if let (Wanted::Gpu, Err(error)) = (opening.wanted, &gpu) {
        return Err(error.clone().into());
    }
    let (places, why) = match (&gpu, opening.wanted) {
        (Ok(_), Wanted::Gpu) => (all_at(Place::Gpu), "as wanted".to_owned()),
        (_, Wanted::Cpu) => (all_at(Place::Cpu), "as wanted".to_owned()),
        (Err(_), _) => (all_at(Place::Cpu), "there is no GPU to use".to_owned()),
        (Ok(gpu), Wanted::Auto) => faster(&model, gpu, opening.cache.as_deref()),
    };
    for (work, place) in places {
        model.assign(work, place);
    }
    let gpu = gpu.map(|gpu| gpu.describe());
    Ok((model, Placement { cpu: cpu.describe(), gpu, places, why }))
}

fn all_at(place: Place) -> [(Work, Place); 3] {
    Work::ALL.map(|work| (work, place))
}

#[cfg(feature = "gpu")]
fn open_gpu(opening: &Opening, software: bool) -> Result<Device, DeviceError> {
    let cache_dir = opening.cache.clone();
    Device::gpu(&GpuChoice { software, cache_dir, ..GpuChoice::default() })
}

#[cfg(not(feature = "gpu"))]
fn open_gpu(_: &Opening, _: bool) -> Result<Device, DeviceError> {
    Err(DeviceError::NoAdapter { found: "this build is without the feature `gpu`".into() })
}

/// The faster device for each kind of work, from the cache or measured.
fn faster(model: &Model, gpu: &Device, cache: Option<&Path>) -> ([(Work, Place); 3], String) {
    let key = key(model, gpu);
    let file = cache.map(|dir| dir.join("placement.json"));
    if let Some(places) = file.as_deref().and_then(|file| known(file, &key)) {
        return (places, "the faster one for each, measured before".into());
    }
    for work in Work::ALL {
        [Place::Cpu, Place::Gpu].into_iter().for_each(|place| model.compile_block(work, place));
    }
    let mut figures = Vec::new();
    let began = Instant::now();
    let places = Work::ALL.map(|work| {
        let within = MEASURING / 24;
        let time = |place| {
            let time = model.time_of_block(work, place, within);
            time.filter(|_| began.elapsed() < MEASURING)
        };
        let (cpu, gpu) = (time(Place::Cpu), time(Place::Gpu));
        let Some((cpu, gpu)) = cpu.zip(gpu) else { return (work, Place::Cpu) };
        figures.push(format!("{} {:.2}", work.name(), cpu.as_secs_f64() / gpu.as_secs_f64()));
        (work, if gpu < cpu { Place::Gpu } else { Place::Cpu })
    });
    let figures = figures.join(", ");
    // What a slow moment cut short is not kept.
    if let Some(file) = file.filter(|_| began.elapsed() < MEASURING)
        && let Err(error) = keep(&file, &key, &places)
    {
        log::warn!("which device is faster can't be kept: {error}");
    }
    (places, format!("the faster one for each; the GPU's speed is the processor's times {figures}"))
}

/// Adapter, driver, processor and model: what the figures hold for.
fn key(model: &Model, gpu: &Device) -> String {
    let (arch, cpu) = (model.arch(), model.device_at(Place::Cpu).describe());
    let shape = [arch.layers, arch.width, arch.ff, arch.vocab].map(|size| size.to_string());
    let bytes: usize = model.gguf().tensors().iter().map(|tensor| tensor.range.len()).sum();
    format!("{}; {cpu}; {} {} {bytes}", gpu.describe(), arch.name, shape.join("x"))
}

fn known(file: &Path, key: &str) -> Option<[(Work, Place); 3]> {
    let all: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let found = all.get(key)?;
    let mut places = all_at(Place::Cpu);
    for (work, place) in &mut places {
        *place = match found.get(work.name())?.as_str()? {
            "gpu" => Place::Gpu,
            "cpu" => Place::Cpu,
            _ => return None,
        };
    }
    Some(places)
}

/// Adds to the file, which is replaced as a whole.
fn keep(file: &Path, key: &str, places: &[(Work, Place); 3]) -> std::io::Result<()> {
    let read = fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut all: Map<String, Value> = read.unwrap_or_default();
    let entries = places.iter().map(|(work, place)| (work.name().into(), json!(place.name())));
    all.insert(key.to_owned(), Value::Object(entries.collect()));
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let new = dir.join(format!("placement.{}", std::process::id()));
    let mut writer = fs::File::create(&new)?;
    writer.write_all(&serde_json::to_vec_pretty(&all)?)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use sapwood_models::EMBEDDED;

    use super::*;

    #[test]
    fn what_was_found_out_is_kept_and_a_damaged_file_is_written_anew() {
        let dir = std::env::temp_dir().join(format!("sapwood-placement-{}", std::process::id()));
        let file = dir.join("placement.json");
        let places = [Place::Gpu, Place::Cpu, Place::Gpu];
        let places: Vec<_> = Work::ALL.into_iter().zip(places).collect();
        let places: [(Work, Place); 3] = places.try_into().unwrap();
        assert_eq!(known(&file, "a"), None);
        keep(&file, "a", &places).unwrap();
        keep(&file, "b", &all_at(Place::Cpu)).unwrap();
        assert_eq!(known(&file, "a"), Some(places));
        assert_eq!(known(&file, "b"), Some(all_at(Place::Cpu)));
        assert_eq!(known(&file, "c"), None);
        for damage in [&b"{"[..], b"[]", br#"{"a": {"prefill": "tpu"}}"#] {
            fs::write(&file, damage).unwrap();
            assert_eq!(known(&file, "a"), None);
            keep(&file, "a", &places).unwrap();
            assert_eq!(known(&file, "a"), Some(places));
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_processor_does_all_where_it_is_wanted() {
        let opening = Opening { wanted: Wanted::Cpu, threads: Some(1), cache: None };
        let (model, placement) = open(Mapped::from_static(EMBEDDED), &opening).unwrap();
        assert_eq!(placement.places, all_at(Place::Cpu));
        assert!(placement.gpu.is_err() && model.gpu().is_none());
    }
}
