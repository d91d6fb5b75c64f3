//! Which device does what: generation and training may each be faster on another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use sapwood_kernels::{Device, DeviceError};

use crate::arch::Arch;
use crate::error::ModelError;
use crate::gguf::Gguf;
use crate::mmap::Mapped;
use crate::placed::Placed;

/// The devices that a model may use.
#[derive(Clone)]
pub struct Devices {
    cpu: Device,
    gpu: Option<Device>,
}

impl Devices {
    /// A processor, and a GPU beside it.
    ///
    /// # Panics
    /// If `cpu` is a GPU, or `gpu` is none.
    pub fn new(cpu: Device, gpu: Option<Device>) -> Devices {
        assert!(!cpu.is_gpu() && gpu.as_ref().is_none_or(Device::is_gpu), "each in its place");
        Devices { cpu, gpu }
    }
}

impl From<&Device> for Devices {
    /// A GPU has the processor beside it: what it can't do any more is done there.
    fn from(device: &Device) -> Devices {
        match device.is_gpu() {
            true => Devices::new(Device::cpu(None), Some(device.clone())),
            false => Devices::new(device.clone(), None),
        }
    }
}

impl From<&Devices> for Devices {
    fn from(devices: &Devices) -> Devices {
        devices.clone()
    }
}

/// A kind of work that has a device of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Prompts: many tokens at a time.
    Prefill,
    /// Replies: a token at a time.
    Decode,
    /// Scoring and training on whole sequences.
    Training,
}

impl Work {
    /// All of them.
    pub const ALL: [Work; 3] = [Work::Prefill, Work::Decode, Work::Training];

    /// `prefill`, `decode` or `training`.
    pub fn name(self) -> &'static str {
        match self {
            Work::Prefill => "prefill",
            Work::Decode => "decode",
            Work::Training => "training",
        }
    }
}

/// Where work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The processor.
    Cpu,
    /// The GPU.
    Gpu,
}

impl Place {
    /// `cpu` or `gpu`.
    pub fn name(self) -> &'static str {
        match self {
            Place::Cpu => "cpu",
            Place::Gpu => "gpu",
        }
    }
}

/// A model on each of its devices, and which of them does what.
///
/// The processor is always there. A GPU that fails does nothing any more, and what it did is done
/// by the processor from then on.
pub(crate) struct Sides {
    pub cpu: Placed,
    gpu: Option<Placed>,
    /// Bit n: [`Work::ALL`]`[n]` is the GPU's.
    on_gpu: AtomicU8,
    /// Whether the host lets the GPU be used now.
    allowed: AtomicBool,
}

impl Sides {
    pub fn new(
        gguf: &Gguf,
        file: &Mapped,
        arch: &Arc<Arch>,
        devices: Devices,
    ) -> Result<Sides, ModelError> {
        let Devices { cpu, gpu } = devices;
        let place = |at| Placed::new(gguf, file, arch, at);
        Ok(Sides {
            cpu: place((Place::Cpu, cpu))?,
            gpu: gpu.map(|gpu| place((Place::Gpu, gpu))).transpose()?,
            on_gpu: AtomicU8::new(u8::MAX),
            allowed: AtomicBool::new(true),
        })
    }

    /// Where `work` is done now.
    pub fn of(&self, work: Work) -> &Placed {
        let bits = self.on_gpu.load(Ordering::Relaxed);
        let wanted = bits & bit(work) != 0 && self.allowed.load(Ordering::Relaxed);
        self.sound_gpu().filter(|_| wanted).unwrap_or(&self.cpu)
    }

    /// The side at `place`, whether or not it has failed.
    pub fn at(&self, place: Place) -> &Placed {
        match place {
            Place::Cpu => &self.cpu,
            Place::Gpu => self.gpu.as_ref().expect("what was computed there"),
        }
    }

    fn sound_gpu(&self) -> Option<&Placed> {
        self.gpu.as_ref().filter(|gpu| gpu.device.fault().is_none())
    }

    pub fn gpu(&self) -> Option<&Placed> {
        self.gpu.as_ref()
    }

    /// Why the side at `place` must not go on computing, if so.
    pub fn obstacle(&self, place: Place) -> Option<DeviceError> {
        let forbidden = place == Place::Gpu && !self.allowed.load(Ordering::Relaxed);
        let fault = self.at(place).device.fault();
        fault.or_else(|| forbidden.then_some(DeviceError::Forbidden))
    }

    pub fn fault(&self) -> Option<DeviceError> {
        self.gpu.as_ref().and_then(|gpu| gpu.device.fault())
    }

    pub fn assign(&self, work: Work, place: Place) {
        match place {
            Place::Gpu => self.on_gpu.fetch_or(bit(work), Ordering::Relaxed),
            Place::Cpu => self.on_gpu.fetch_and(!bit(work), Ordering::Relaxed),
        };
    }

    pub fn allow_gpu(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Relaxed);
    }
}

fn bit(work: Work) -> u8 {
    1 << work as u8
}
