//! Kernels compiled for the adapter, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::context::Context;
use super::shader::{IMMEDIATE_BYTES, Kernel};

/// A compiled kernel and the shape of its bindings.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// All that were needed so far.
#[derive(Default)]
pub(super) struct Pipelines(Mutex<HashMap<Kernel, Arc<Pipeline>>>);

impl Pipelines {
    pub fn get(&self, context: &Context, kernel: Kernel) -> Arc<Pipeline> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&kernel).cloned();
        known.unwrap_or_else(|| {
            self.prepare(context, &[kernel]);
            self.get(context, kernel)
        })
    }

    /// Compiles those that are missing, side by side: drivers take long over each.
    pub fn prepare(&self, context: &Context, kernels: &[Kernel]) {
        let mut pipelines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<Kernel> =
            kernels.iter().copied().filter(|kernel| !pipelines.contains_key(kernel)).collect();
        missing.sort_by_key(|kernel| kernel.name());
        missing.dedup();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for some in missing.chunks(threads) {
            let made = std::thread::scope(|scope| {
                let compile = |&kernel| scope.spawn(move || Pipeline::new(context, kernel));
                let compiling: Vec<_> = some.iter().map(compile).collect();
                let join = |thread: std::thread::ScopedJoinHandle<'_, Pipeline>| thread.join();
                compiling.into_iter().map(join).collect::<Vec<_>>()
            });
            for (&kernel, made) in some.iter().zip(made) {
                let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                pipelines.insert(kernel, Arc::new(made));
            }
        }
        if let Some(disk) = &context.cache
            && !missing.is_empty()
            && context.fault().is_none()
        {
            disk.save();
        }
    }
}

impl Pipeline {
    fn new(context: &Context, kernel: Kernel) -> Pipeline {
        let name = kernel.name();
        let mut source = kernel.source(context.sharing);
        if context.broken_kernel.as_deref() == Some(&name) {
            source = idle(&source);
        }
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&name),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        // SAFETY: the text is ours, part of the program. Every access to a buffer stands behind a
        // comparison with the sizes that the host passes, and the host binds buffers of those
        // sizes; every loop counts up to such a size; no divisor is zero, since no slot is empty.
        let module = unsafe {
            let checks = wgpu::ShaderRuntimeChecks::unchecked();
            context.device.create_shader_module_trusted(descriptor, checks)
        };
        let (reads, all) = kernel.bindings();
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..all)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: binding < reads },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = context.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&name),
            entries: &entries,
        });
        let whole = context.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: IMMEDIATE_BYTES,
        });
        let pipeline = context.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&name),
            layout: Some(&whole),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: context.cache.as_ref().map(|disk| &disk.cache),
        });
        Pipeline { pipeline, layout }
    }
}

/// A kernel that computes nothing.
fn idle(source: &str) -> String {
    let main = source.find("fn main(").expect("every kernel has one");
    let body = main + source[main..].find("{\n").expect("it has a body") + 2;
    format!("{}    if true {{ return; }}\n{}", &source[..body], &source[body..])
}
