//! What only the GPU device has: packed pages of weights, and what it does when it fails. The ops
//! are compared with the reference in the other tests, on every device.

#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use half::f16;
use sapwood_kernels::reference::{Tensor, Tensors};
use sapwood_kernels::*;

/// Blocks of random bits under sound scales, and their values.
fn blocks(quant: Quant, rows: usize, cols: usize) -> (Vec<u8>, Tensor<f64>) {
    let mut rng = Rng(3);
    let count = rows * cols / quant.block_len();
    let mut bytes = Vec::new();
    for _ in 0..count {
        let mut block: Vec<u8> = (0..quant.block_bytes()).map(|_| rng.next() as u8).collect();
        let mut put = |at: usize, value: f32| {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
        };
        match quant {
            Quant::F32 => block = (rng.value() as f32).to_le_bytes().to_vec(),
            Quant::F16 => put(0, rng.value() as f32),
            Quant::BF16 => block = half::bf16::from_f64(rng.value()).to_le_bytes().to_vec(),
            Quant::Q4_0 | Quant::Q5_0 => put(0, 0.1 * rng.value() as f32),
            Quant::Q8_0 => put(0, 0.01 * rng.value() as f32),
            Quant::Q4_1 | Quant::Q5_1 => {
                put(0, 0.1 * rng.value() as f32);
                put(2, 0.1 * rng.value() as f32);
            }
            Quant::Q4_K | Quant::Q5_K => {
                put(0, 1e-3 * rng.value() as f32);
                put(2, 1e-3 * rng.value() as f32);
            }
            Quant::Q6_K => put(208, 1e-4 * rng.value() as f32),
        }
        bytes.extend(block);
    }
    let mut values = vec![0.0; rows * cols];
    quant.dequantize(&bytes, &mut values);
    (bytes, Tensor { rows, cols, data: values.into_iter().map(f64::from).collect() })
}

/// Every op that reads a weight, on blocks of a type.
fn check(device: &Device, quant: Quant, rows: usize, cols: usize, tokens: usize) {
    let mut p = Program::new();
    let (x, dy, dlogp) = (p.input("x", cols), p.input("dy", rows), p.input("dlogp", 1));
    let (ids, targets) = (p.ids("ids"), p.ids("targets"));
    let w = p.weight("w", rows, cols, quant);
    let embedded = p.embed(ids, w, 1.5);
    let y = p.linear(x, w, None, None);
    let dx = p.grad(y, dy, &[x])[0];
    let logp = p.head_logp(x, w, targets);
    let head_dx = p.grad(logp, dlogp, &[x])[0];
    outputs(&mut p, &[embedded, y, dx, logp, head_dx]);
    let (bytes, values) = blocks(quant, rows, cols);
    let mut rng = Rng(11);
    let mut tensors = Tensors::new(&p);
    let mut bound: Vec<(Slot, Buffer)> = Vec::new();
    for slot in [x, dy, dlogp] {
        let value = Tensor::make(tokens, p.desc(slot).cols, |_, _| rng.value());
        let floats: Vec<f32> = value.data.iter().map(|&value| value as f32).collect();
        bound.push((slot, device.values(tokens, value.cols, &floats)));
        tensors.set(slot, value);
    }
    for slot in [ids, targets] {
        let all: Vec<u32> = (0..tokens).map(|_| rng.below(rows) as u32).collect();
        let buffer = device.ids(tokens);
        device.write_ids(&buffer, 0, &all);
        bound.push((slot, buffer));
        tensors.set(slot, Tensor::make(tokens, 1, |t, _| f64::from(all[t])));
    }
    let range = 0..bytes.len();
    bound.push((w, device.weight(Arc::new(bytes), range, (rows, cols), quant)));
    tensors.set(w, values);
    for &slot in p.outputs() {
        bound.push((slot, device.zeros(tokens, p.desc(slot).cols)));
    }
    let cursor = Cursor { pos: 0, tokens };
    reference::run(&p, &mut tensors, cursor);
    let exec = device.compile(&p, tokens);
    device.run(&exec, &bind(&exec, &bound), cursor);
    for &slot in p.outputs() {
        let got = read(device, &bound, slot, tokens);
        assert_eq!(device.fault(), None, "{quant:?}");
        let error = error(&got, &tensors[slot], 1e-3);
        let name = &p.desc(slot).name;
        assert!(
            error <= tolerance::F32,
            "{quant:?} ({rows}, {cols}), {tokens} tokens, {name}: off by {error:e}"
        );
    }
}

#[test]
fn every_block_type_is_read_as_it_is_defined() {
    let Some(device) = gpu() else { return };
    for quant in Quant::ALL {
        // Rows and tokens around the tiles of 64 and of 4.
        for (rows, tokens) in [(1, 1), (3, 4), (63, 5), (64, 64), (65, 65), (130, 2)] {
            check(&device, quant, rows, 256, tokens);
        }
        let odd = if quant.block_len() == 1 { 77 } else { 3 * quant.block_len() };
        check(&device, quant, 33, odd, 7);
    }
}

/// As on a GPU that binds little at a time: a weight of many pages, the last one shorter.
#[test]
fn a_weight_of_many_pages_is_one_weight() {
    if gpu().is_none() {
        return;
    }
    let choice = GpuChoice { page_bytes: Some(64 << 10), ..gpu_choice() };
    let device = Device::gpu(&choice).unwrap();
    for quant in [Quant::F32, Quant::Q4_0, Quant::Q8_0, Quant::Q6_K] {
        for tokens in [1, 9] {
            check(&device, quant, 1003, 256, tokens);
        }
    }
}

#[test]
fn what_does_not_fit_is_a_fault_and_not_a_crash() {
    if gpu().is_none() {
        return;
    }
    let choice = GpuChoice { page_bytes: Some(64 << 10), ..gpu_choice() };
    let device = Device::gpu(&choice).unwrap();
    let large = device.zeros(1 << 10, 1 << 10);
    assert_eq!(device.fault(), Some(DeviceError::OutOfMemory));
    let mut values = [1.0];
    device.read(&large, 0, &mut values);
    assert_eq!(values, [1.0], "nothing is read");
}

#[test]
fn a_lost_device_says_so_and_does_nothing() {
    if gpu().is_none() {
        return;
    }
    let device = Device::gpu(&gpu_choice()).unwrap();
    let Block { program, .. } = block(BlockKind::default(), Quant::F32, [2, 1, 8], 24);
    let operands = operands(&program, 3, 0, 1, 2);
    let exec = device.compile(&program, 3);
    let buffers = buffers(&device, &program, &operands, 3);
    let bindings = bind(&exec, &buffers);
    let cursor = Cursor { pos: 0, tokens: 3 };
    device.run(&exec, &bindings, cursor);
    let Device::Gpu(gpu) = &device else { unreachable!("opened as one") };
    gpu.lose();
    device.run(&exec, &bindings, cursor);
    read(&device, &buffers, program.outputs()[0], 3);
    assert!(matches!(device.fault(), Some(DeviceError::Lost { .. })));
}

/// Programs that have every kind of kernel, and those of one block type.
fn programs() -> Vec<Program> {
    let cached = BlockKind { cache: Some(Quant::F16), lora: true, ..BlockKind::default() };
    let Block { program: decode, .. } = block(cached, Quant::Q4_0, [2, 1, 16], 32);
    let kind = BlockKind { lora: true, ..BlockKind::default() };
    let Block { program: mut train, x, y, params } = block(kind, Quant::Q4_0, [2, 1, 16], 32);
    let seed = train.input("seed", 32);
    let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
    train.grad(y, seed, &wrt).into_iter().for_each(|slot| train.output(slot));
    let mut ends = Program::new();
    let (ids, targets) = (ends.ids("ids"), ends.ids("targets"));
    let w = ends.weight("w", 40, 32, Quant::Q4_0);
    let embedded = ends.embed(ids, w, 1.0);
    let (x, dlogp) = (ends.input("x", 32), ends.input("dlogp", 1));
    let logp = ends.head_logp(x, w, targets);
    let dx = ends.grad(logp, dlogp, &[x])[0];
    outputs(&mut ends, &[embedded, logp, dx]);
    vec![decode, train, ends]
}

/// Some that are compiled, run and give nothing: as from a driver that miscompiles them.
#[test]
fn a_kernel_that_computes_wrongly_is_found_before_it_is_used() {
    if gpu().is_none() {
        return;
    }
    let kernels = [
        "Embed(Q4_0)",
        "Linear(Q4_0)",
        "LinearFew(Q4_0)",
        "LinearGrad(Q4_0)",
        "Thin",
        "Sum",
        "RmsNorm",
        "RmsNormGrad",
        "Rope",
        "Append(F16)",
        "Attention(F16)",
        "Attention(F32)",
        "AttentionDelta",
        "AttentionGradQ",
        "AttentionGradKv",
        "Glu",
        "GluGrad",
        "Add",
        "HeadShard",
        "HeadLogp",
        "HeadSlopes",
    ];
    for broken in kernels {
        let choice = GpuChoice { broken_kernel: Some(broken.into()), ..gpu_choice() };
        let device = Device::gpu(&choice).unwrap();
        programs().iter().for_each(|program| drop(device.compile(program, 6)));
        let Some(DeviceError::SelfTest { kernel, off_by }) = device.fault() else {
            panic!("{broken}: {:?}", device.fault());
        };
        // One that others need, too, may be found through them.
        let found = kernel.split(" or ").any(|name| name == broken);
        let through = ["LinearFew(Q4_0)", "LinearGrad(Q4_0)", "Linear(Q4_0)"];
        assert!(found || through.contains(&broken), "{broken}: {kernel} is off by {off_by}");
        assert!(off_by > 0.1, "{broken}: off by {off_by}");
    }
}

/// What is right is left alone, and each kernel is tried once.
#[test]
fn sound_kernels_pass_the_self_test_once() {
    if gpu().is_none() {
        return;
    }
    let device = Device::gpu(&gpu_choice()).unwrap();
    let Device::Gpu(gpu) = &device else { unreachable!("opened as one") };
    for program in programs() {
        device.compile(&program, 6);
        let (kernels, _) = gpu.tried();
        device.compile(&program, 6);
        assert_eq!(gpu.tried().0, kernels, "tried again");
    }
    let (kernels, spent) = gpu.tried();
    println!("MEASURED: the self-test of {kernels} kernels took {} ms", spent.as_millis());
    assert!(kernels >= 20, "{kernels}");
    assert_eq!(device.fault(), None);
}

#[test]
fn no_adapter_is_an_error_that_says_what_was_found() {
    let choice = GpuChoice { backend: Some("none".into()), ..GpuChoice::default() };
    let Err(DeviceError::NoAdapter { found }) = Device::gpu(&choice) else {
        panic!("there is no such back end");
    };
    assert!(found.contains("vulkan"), "{found}");
}
