//! The adapter that was chosen, and what may go wrong with it.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use super::blocklist::{self, Without};
use super::cache::DiskCache;
use super::shader::{BINDINGS_MAX, IMMEDIATE_BYTES, Products, Sharing};
use crate::fault::DeviceError;

/// Which GPU is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuChoice {
    /// Take a GPU that is emulated by the processor, too. It is slower than the CPU device: for
    /// tests.
    pub software: bool,
    /// Only this back end: `vulkan`, `metal`, `dx12` or `gl`. OpenGL is only taken when it is named.
    pub backend: Option<String>,
    /// Split weights into pages of at most this many bytes, even if the GPU takes larger ones.
    pub page_bytes: Option<usize>,
    /// Keep compiled kernels in this folder, where the back end can: the next start is faster. It
    /// has to be the app's own, since the driver runs what lies there.
    pub cache_dir: Option<PathBuf>,
    /// How linears over many tokens are computed; by default as suits the GPU.
    pub products: Option<Products>,
    /// How the kernels share what they read; by default as suits the GPU. Without subgroup
    /// operations it is [`Sharing::Memory`], whatever is said here.
    pub sharing: Option<Sharing>,
    /// For tests of the self-test: this kernel computes nothing.
    #[doc(hidden)]
    pub broken_kernel: Option<String>,
}

/// An open adapter.
pub(super) struct Context {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Why this adapter.
    reason: String,
    /// The most bytes of one page of a weight.
    pub page_bytes: usize,
    /// The most bytes of one buffer.
    pub buffer_bytes: u64,
    pub sharing: Sharing,
    pub products: Products,
    pub broken_kernel: Option<String>,
    pub cache: Option<DiskCache>,
    /// Bytes of all pages.
    pub held: Arc<AtomicU64>,
    /// The most that it ever was.
    pub held_most: AtomicU64,
    fault: Arc<Mutex<Option<DeviceError>>>,
}

impl Context {
    /// Opens the best adapter that `choice` allows.
    pub fn open(choice: &GpuChoice) -> Result<Context, DeviceError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: backends(choice)?,
            // Neither validation layers nor debug names: the shaders are checked by the tests.
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let mut refused = Vec::new();
        let mut usable: Vec<wgpu::Adapter> = Vec::new();
        for adapter in adapters {
            match obstacle(&adapter, choice) {
                Some(why) => refused.push(format!("{}: {why}", adapter.get_info().name)),
                None => usable.push(adapter),
            }
        }
        let best = usable.into_iter().min_by_key(|adapter| rank(&adapter.get_info()));
        let Some(adapter) = best else {
            let found =
                if refused.is_empty() { "none was found".into() } else { refused.join("; ") };
            return Err(DeviceError::NoAdapter { found });
        };
        Context::with(&adapter, choice)
    }

    fn with(adapter: &wgpu::Adapter, choice: &GpuChoice) -> Result<Context, DeviceError> {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let mut features = wgpu::Features::IMMEDIATES;
        let sharing = sharing(adapter, choice);
        if sharing != Sharing::Memory {
            features |= wgpu::Features::SUBGROUP;
        }
        let products = choice.products.unwrap_or_else(|| usual_products(adapter));
        if products == Products::F16 {
            features |= wgpu::Features::SHADER_F16;
        }
        let cached = wgpu::Features::PIPELINE_CACHE;
        let cache_dir = choice.cache_dir.as_ref().filter(|_| adapter.features().contains(cached));
        if cache_dir.is_some() {
            features |= cached;
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("sapwood"),
            required_features: features,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|error| DeviceError::Refused { why: text(&error) })?;
        let fault: Arc<Mutex<Option<DeviceError>>> = Arc::default();
        let failed = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep_first(
                &failed,
                match error {
                    wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory,
                    error => DeviceError::Refused { why: text(&error) },
                },
            );
        }));
        let lost = fault.clone();
        device.set_device_lost_callback(move |reason, why| {
            let why = if why.is_empty() { format!("{reason:?}") } else { why };
            keep_first(&lost, DeviceError::Lost { why });
        });
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let reason = format!("{} on {}", kind(info.device_type), info.backend);
        let cache = cache_dir.map(|folder| DiskCache::open(&device, &info, folder));
        Ok(Context {
            device,
            queue,
            info,
            reason,
            page_bytes: choice.page_bytes.unwrap_or(usize::MAX).min(most),
            buffer_bytes: limits.max_buffer_size,
            sharing,
            products,
            broken_kernel: choice.broken_kernel.clone(),
            cache,
            held: Arc::default(),
            held_most: AtomicU64::default(),
            fault,
        })
    }

    /// What computes, in words.
    pub fn describe(&self) -> String {
        let wgpu::AdapterInfo { name, driver, driver_info, .. } = &self.info;
        let [least, most] = [self.info.subgroup_min_size, self.info.subgroup_max_size];
        let subgroups = match self.sharing {
            Sharing::Memory => "no subgroups".into(),
            _ if least == most => format!("subgroups of {most}"),
            _ => format!("subgroups of {least} to {most}"),
        };
        let tiles = if self.sharing == Sharing::Registers { "registers" } else { "memory" };
        let products = match self.products {
            Products::F32 => "f32",
            Products::F16 => "f16",
            Products::Int8 => "int8",
        };
        let reason = &self.reason;
        format!(
            "gpu, {name}, {reason} ({driver} {driver_info}), {subgroups}, tiles in {tiles}, \
             {products} products"
        )
    }

    pub fn fault(&self) -> Option<DeviceError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails unless so many bytes can be bound at once.
    pub fn expect_room(&self, bytes: usize) {
        if bytes > self.page_bytes {
            self.fail(DeviceError::OutOfMemory);
        }
    }

    pub fn fail(&self, error: DeviceError) {
        keep_first(&self.fault, error);
    }
}

/// The first fault is the cause of the others.
fn keep_first(fault: &Mutex<Option<DeviceError>>, error: DeviceError) {
    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

fn text(error: &dyn std::error::Error) -> String {
    // wgpu's messages go over many lines; the first two name the call and the reason.
    error.to_string().lines().take(6).map(str::trim).collect::<Vec<_>>().join(" ")
}

fn backends(choice: &GpuChoice) -> Result<wgpu::Backends, DeviceError> {
    match choice.backend.as_deref() {
        // OpenGL's loaders print to the error output where there is no display.
        None => Ok(wgpu::Backends::PRIMARY),
        Some("vulkan") => Ok(wgpu::Backends::VULKAN),
        Some("metal") => Ok(wgpu::Backends::METAL),
        Some("dx12") => Ok(wgpu::Backends::DX12),
        Some("gl") => Ok(wgpu::Backends::GL),
        Some(_) => Err(DeviceError::NoAdapter {
            found: "back ends are called vulkan, metal, dx12 and gl".into(),
        }),
    }
}

/// Why an adapter can't be used.
fn obstacle(adapter: &wgpu::Adapter, choice: &GpuChoice) -> Option<String> {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    if info.device_type == wgpu::DeviceType::Cpu && !choice.software {
        return Some("emulated by the processor".into());
    }
    if let Some(why) = blocklist::reason(Without::Gpu, &info) {
        return Some(why.into());
    }
    if !adapter.features().contains(wgpu::Features::IMMEDIATES)
        || limits.max_immediate_size < IMMEDIATE_BYTES
    {
        return Some("takes no immediates".into());
    }
    if choice.products == Some(Products::F16)
        && !adapter.features().contains(wgpu::Features::SHADER_F16)
    {
        return Some("does not compute with f16".into());
    }
    let needed = [
        (limits.max_storage_buffers_per_shader_stage, BINDINGS_MAX as u32, "storage buffers"),
        (limits.max_compute_workgroup_storage_size, 16 << 10, "bytes of workgroup memory"),
        (limits.max_compute_invocations_per_workgroup, 256, "invocations of a workgroup"),
        (limits.max_compute_workgroups_per_dimension, 65_535, "workgroups of a dimension"),
    ];
    let short = needed.iter().find(|(has, needs, _)| has < needs);
    short.map(|(has, needs, what)| format!("{has} {what} where {needs} are needed"))
}

/// How linears over many tokens are best computed.
///
/// Four products of bytes are one instruction of most GPUs, and Vulkan and Direct3D pass it on.
/// Metal has no such operation and OpenGL none that is passed on: there it would be eight
/// instructions. There, halves save a part of the tiles' traffic. A processor that plays GPU does so
/// for tests, and is exact.
fn usual_products(adapter: &wgpu::Adapter) -> Products {
    let (info, features) = (adapter.get_info(), adapter.features());
    match (info.device_type, info.backend) {
        (wgpu::DeviceType::Cpu, _) => Products::F32,
        (_, wgpu::Backend::Vulkan | wgpu::Backend::Dx12) => Products::Int8,
        _ if features.contains(wgpu::Features::SHADER_F16) => Products::F16,
        _ => Products::F32,
    }
}

/// How kernels best share what they read. A processor that plays GPU has no workgroup memory, and
/// barriers cost it a change of stacks.
fn sharing(adapter: &wgpu::Adapter, choice: &GpuChoice) -> Sharing {
    let info = adapter.get_info();
    let usual = match info.device_type {
        // Tiles in registers: four lanes load for the whole subgroup, a vector each.
        wgpu::DeviceType::Cpu if info.subgroup_min_size >= 4 => Sharing::Registers,
        _ => Sharing::Subgroups,
    };
    let can = adapter.features().contains(wgpu::Features::SUBGROUP)
        && blocklist::reason(Without::Subgroups, &info).is_none();
    if can { choice.sharing.unwrap_or(usual) } else { Sharing::Memory }
}

/// Lower is better: a GPU of its own before one that shares memory, an explicit interface before
/// OpenGL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, bool) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, info.backend == wgpu::Backend::Gl)
}

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "a GPU with memory of its own",
        wgpu::DeviceType::IntegratedGpu => "a GPU that shares memory",
        wgpu::DeviceType::VirtualGpu => "a virtual GPU",
        wgpu::DeviceType::Cpu => "emulated by the processor",
        wgpu::DeviceType::Other => "a GPU of an unknown kind",
    }
}
