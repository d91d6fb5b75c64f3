//! Every shader of the GPU device is valid, and can be said in the language of every back end. No
//! GPU is needed, nor the feature `gpu`.

#![allow(clippy::unwrap_used)]

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{
    Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};
use naga::{AddressSpace, Module, StorageAccess};
use sapwood_kernels::Quant;

#[allow(dead_code, reason = "the device uses the rest")]
#[path = "../src/gpu/shader.rs"]
mod shader;

use shader::{BINDINGS_MAX, IMMEDIATE_BYTES, Kernel, Sharing};

/// `pack2x16float` and its inverse: part of WGSL's core.
const CAPABILITIES: Capabilities =
    Capabilities::IMMEDIATES.union(Capabilities::SHADER_FLOAT16_IN_FLOAT32);

/// Every kernel in all ways that differ.
fn all() -> Vec<(Kernel, Sharing)> {
    let mut all = Vec::new();
    for kernel in Kernel::all() {
        let mut known = Vec::new();
        for sharing in [Sharing::Memory, Sharing::Subgroups, Sharing::Registers] {
            let source = kernel.source(sharing);
            if !known.contains(&source) {
                known.push(source);
                all.push((kernel, sharing));
            }
        }
    }
    all
}

fn valid((kernel, sharing): (Kernel, Sharing)) -> (Module, ModuleInfo) {
    let source = kernel.source(sharing);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{kernel:?}: {}", error.emit_to_string(&source)));
    let subgroups = sharing != Sharing::Memory;
    let mut capabilities = CAPABILITIES;
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    capabilities.set(Capabilities::SHADER_FLOAT16, kernel.needs_f16());
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(
            SubgroupOperationSet::BASIC
                | SubgroupOperationSet::ARITHMETIC
                | SubgroupOperationSet::SHUFFLE,
        );
    }
    let info = validator
        .validate(&module)
        .unwrap_or_else(|error| panic!("{kernel:?}: {}", error.emit_to_string(&source)));
    (module, info)
}

#[test]
fn what_shares_comes_with_and_without_subgroups() {
    for kernel in Kernel::all() {
        let without = kernel.source(Sharing::Memory);
        assert!(!without.contains("subgroupAdd(") && !without.contains("subgroupShuffle("));
        assert!(!kernel.source(Sharing::Subgroups).contains("subgroupShuffle("), "{kernel:?}");
    }
    let with = |sharing| all().into_iter().filter(move |way| way.1 == sharing).map(|way| way.0);
    let sums = [Kernel::RmsNorm, Kernel::HeadShard, Kernel::LinearFew(Quant::Q4_0)];
    for kernel in sums.into_iter().chain([Kernel::Output(Quant::Q4_0)]) {
        assert!(with(Sharing::Subgroups).any(|known| known == kernel), "{kernel:?}");
    }
    let tiles = [Kernel::Thin, Kernel::Linear(Quant::Q4_0), Kernel::LinearGrad(Quant::Q4_0)];
    let attention = [Kernel::AttentionGradQ, Kernel::AttentionGradKv];
    for kernel in tiles.into_iter().chain([Kernel::Attention(Quant::F16)]).chain(attention) {
        assert!(with(Sharing::Registers).any(|known| known == kernel), "{kernel:?}");
    }
}

#[test]
fn every_kernel_binds_what_the_host_binds() {
    for (kernel, sharing) in all() {
        let (module, _) = valid((kernel, sharing));
        let (reads, all) = kernel.bindings();
        assert!(all as usize <= BINDINGS_MAX, "{kernel:?}: {all} buffers");
        let mut bound = Vec::new();
        for (_, global) in module.global_variables.iter() {
            match global.space {
                AddressSpace::Storage { access } => {
                    let binding = global.binding.unwrap();
                    assert_eq!(binding.group, 0);
                    let read_only = !access.contains(StorageAccess::STORE);
                    assert_eq!(binding.binding < reads, read_only, "{kernel:?}: {binding:?}");
                    bound.push(binding.binding);
                }
                AddressSpace::Immediate => {
                    let bytes = module.types[global.ty].inner.size(module.to_ctx());
                    assert!(bytes <= IMMEDIATE_BYTES, "{kernel:?}: {bytes} bytes of sizes");
                }
                _ => {}
            }
        }
        bound.sort_unstable();
        assert_eq!(bound, (0..all).collect::<Vec<_>>(), "{kernel:?}");
    }
}

/// What every adapter has: 16 KiB of memory for a workgroup, 256 invocations.
#[test]
fn every_kernel_fits_the_smallest_adapters() {
    for (kernel, sharing) in all() {
        let (module, _) = valid((kernel, sharing));
        let shared =
            module.global_variables.iter().filter(|(_, g)| g.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, g)| module.types[g.ty].inner.size(module.to_ctx())).sum();
        assert!(bytes <= 16 << 10, "{kernel:?}: {bytes} bytes of workgroup memory");
        let [x, y, z] = module.entry_points[0].workgroup_size;
        assert!(x * y * z <= 256, "{kernel:?}: workgroups of {}", x * y * z);
    }
}

#[test]
fn every_kernel_translates_to_spir_v() {
    for (kernel, sharing) in all() {
        let (module, info) = valid((kernel, sharing));
        let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
        let words = spv::write_vec(&module, &info, &options, None).unwrap();
        assert_eq!(words[0], 0x0723_0203, "{kernel:?}: no SPIR-V");
    }
}

#[test]
fn every_kernel_translates_to_metal() {
    for (kernel, sharing) in all() {
        let (module, info) = valid((kernel, sharing));
        let mut resources = msl::EntryPointResources {
            immediates_buffer: Some(29),
            sizes_buffer: Some(30),
            ..msl::EntryPointResources::default()
        };
        for binding in 0..kernel.bindings().1 {
            let target = msl::BindTarget {
                buffer: Some(binding as u8),
                mutable: true,
                ..msl::BindTarget::default()
            };
            resources.resources.insert(naga::ResourceBinding { group: 0, binding }, target);
        }
        let options = msl::Options {
            lang_version: (2, 3),
            per_entry_point_map: [("main".to_string(), resources)].into_iter().collect(),
            fake_missing_bindings: false,
            ..msl::Options::default()
        };
        let (text, made) =
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).unwrap();
        assert!(text.contains("kernel void"), "{kernel:?}");
        made.entry_point_names.into_iter().for_each(|name| drop(name.unwrap()));
    }
}

#[test]
fn every_kernel_translates_to_hlsl() {
    for (kernel, sharing) in all() {
        let (module, info) = valid((kernel, sharing));
        let options = hlsl::Options {
            immediates_target: Some(hlsl::BindTarget { space: 1, ..hlsl::BindTarget::default() }),
            special_constants_binding: Some(hlsl::BindTarget {
                space: 2,
                ..hlsl::BindTarget::default()
            }),
            ..hlsl::Options::default()
        };
        let pipeline = hlsl::PipelineOptions::default();
        let mut text = String::new();
        let made = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
        assert!(text.contains("numthreads"), "{kernel:?}");
        made.entry_point_names.into_iter().for_each(|name| drop(name.unwrap()));
    }
}

#[test]
fn every_kernel_translates_to_glsl() {
    // OpenGL has no f16, and is not asked for it.
    for (kernel, sharing) in all().into_iter().filter(|(kernel, _)| !kernel.needs_f16()) {
        let (module, info) = valid((kernel, sharing));
        let options = glsl::Options {
            version: glsl::Version::Embedded { version: 310, is_webgl: false },
            ..glsl::Options::default()
        };
        let pipeline = glsl::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
            multiview: None,
        };
        let mut text = String::new();
        glsl::Writer::new(
            &mut text,
            &module,
            &info,
            &options,
            &pipeline,
            naga::proc::BoundsCheckPolicies::default(),
        )
        .and_then(|mut writer| writer.write())
        .unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
        assert!(text.contains("local_size_x"), "{kernel:?}");
    }
}
