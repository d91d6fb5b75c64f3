//! The ways in which a GPU computes linears over many tokens: each is as near to the definition as it
//! says, whatever the block type and the edges of the tiles, and exact programs take the exact one.

#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use sapwood_kernels::reference::{Tensor, Tensors};
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

/// Bars of the squared error, relative. f16 rounds a weight by at most 2^-11; a byte rounds an
/// activation by at most 1/254 of the largest of 32.
fn bar(products: Products) -> f64 {
    match products {
        Products::F32 => 1e-11,
        Products::F16 => 1e-6,
        Products::Int8 => 1e-4,
    }
}

/// A device that computes so, or why there is none.
fn device(products: Products) -> Result<Device, DeviceError> {
    Device::gpu(&GpuChoice { products: Some(products), ..gpu_choice() })
}

struct Shape {
    rows: usize,
    cols: usize,
    tokens: usize,
    exact: bool,
}

/// A linear with bias and pair, and the gradient of its input: the squared error of both.
fn errors(device: &Device, quant: Quant, shape: &Shape) -> [f64; 2] {
    let &Shape { rows, cols, tokens, exact } = shape;
    let mut p = Program::new();
    let (x, dy) = (p.input("x", cols), p.input("dy", rows));
    let w = p.weight("w", rows, cols, quant);
    let bias = p.weight("bias", 1, rows, Quant::F32);
    let (a, b) = (p.param("a", 3, cols), p.param("b", rows, 3));
    let y = p.linear(x, w, Some(bias), Some(Lora { a, b, scale: 0.5 }));
    let dx = p.grad(y, dy, &[x])[0];
    outputs(&mut p, &[y, dx]);
    if exact {
        p.exact();
    }
    let (bytes, values) = blocks(quant, rows, cols, 1.0);
    let mut rng = SplitMix64(5);
    let mut tensors = Tensors::new(&p);
    let mut bound: Vec<(Slot, Buffer)> = Vec::new();
    let range = 0..bytes.len();
    bound.push((w, device.weight(Arc::new(bytes), range, (rows, cols), quant)));
    tensors.set(w, values);
    // Activations are large and gradients small, as they are.
    for (slot, slot_rows, size) in
        [(x, tokens, 3e3), (dy, tokens, 1e-7), (bias, 1, 1.0), (a, 3, 0.1), (b, rows, 0.1)]
    {
        let value = Tensor::make(slot_rows, p.desc(slot).cols, |_, _| {
            f64::from((size * signed(&mut rng)) as f32)
        });
        let floats: Vec<f32> = value.data.iter().map(|&value| value as f32).collect();
        bound.push((slot, device.values(slot_rows, value.cols, &floats)));
        tensors.set(slot, value);
    }
    for slot in [y, dx] {
        bound.push((slot, device.zeros(tokens, p.desc(slot).cols)));
    }
    let cursor = Cursor { pos: 0, tokens };
    reference::run(&p, &mut tensors, cursor);
    let exec = device.compile(&p, tokens);
    device.run(&exec, &bind(&exec, &bound), cursor);
    let errors = [y, dx].map(|slot| nmse(&read(device, &bound, slot, tokens), &tensors[slot]));
    assert_eq!(device.fault(), None, "{quant:?}");
    errors
}

/// Every way on every block type, around the edges of the tiles of 64.
fn check(products: Products) {
    let Ok(device) = device(products) else {
        // OpenGL has no f16; that it says so is tested below.
        assert!(products == Products::F16 && only_gpu().is_some_and(|gpu| gpu.starts_with("gl")));
        return;
    };
    let mut worst = [0.0_f64; 2];
    for quant in Quant::ALL {
        let odd = if quant.block_len() == 1 { 77 } else { 3 * quant.block_len() };
        for (rows, cols, tokens) in
            [(1, 256, 5), (63, 256, 64), (64, 512, 65), (65, odd, 63), (130, odd, 7)]
        {
            let shape = Shape { rows, cols, tokens, exact: false };
            let errors = errors(&device, quant, &shape);
            let most = errors[0].max(errors[1]);
            assert!(
                most <= bar(products),
                "{products:?}, {quant:?} ({rows}, {cols}), {tokens} tokens: off by {errors:?}"
            );
            worst = [0, 1].map(|i| worst[i].max(errors[i]));
        }
    }
    println!("MEASURED: {products:?}: NMSE {:.1e}, of gradients {:.1e}", worst[0], worst[1]);
    // Otherwise it would not be the way that it is called.
    let nothing_rounded = worst[0] < 1e-10;
    assert_eq!(nothing_rounded, products == Products::F32, "{products:?}: {worst:?}");
}

#[test]
fn f32_products_are_exact_but_for_sums() {
    if gpu().is_some() {
        check(Products::F32);
    }
}

#[test]
fn f16_weights_are_rounded_once() {
    if gpu().is_some() {
        check(Products::F16);
    }
}

#[test]
fn int8_activations_are_rounded_in_blocks() {
    if gpu().is_some() {
        check(Products::Int8);
    }
}

#[test]
fn an_exact_program_is_not_rounded() {
    if gpu().is_none() {
        return;
    }
    for products in [Products::F16, Products::Int8] {
        let Ok(device) = device(products) else { continue };
        for quant in [Quant::Q4_0, Quant::Q6_K] {
            let shape = Shape { rows: 65, cols: 256, tokens: 9, exact: true };
            for error in errors(&device, quant, &shape) {
                assert!(error <= bar(Products::F32), "{products:?} {quant:?}: {error:e}");
            }
        }
    }
}

/// A head's log-probabilities decide something, whether or not its program says so.
#[test]
fn a_likelihood_is_not_rounded() {
    if gpu().is_none() {
        return;
    }
    let device = device(Products::Int8).unwrap();
    let mut p = Program::new();
    let (x, targets) = (p.input("x", 64), p.ids("targets"));
    let w = p.weight("w", 70, 64, Quant::Q8_0);
    let logp = p.head_logp(x, w, targets);
    p.output(logp);
    let cursor = Cursor { pos: 0, tokens: 9 };
    let operands = operands(&p, 9, 0, 70, 3);
    let expected = reference(&p, &operands, cursor);
    let got = run(&device, &p, &operands, cursor);
    assert!(error(&got[0], &expected[logp], 0.0) <= tolerance::F32);
}

/// A processor that plays GPU takes f32; what can't be had is said.
#[test]
fn the_way_is_named() {
    let Some(usual) = gpu() else { return };
    let name = |products| match products {
        Products::F32 => "f32 products",
        Products::F16 => "f16 products",
        Products::Int8 => "int8 products",
    };
    for products in [Products::F32, Products::F16, Products::Int8] {
        match device(products) {
            Ok(device) => assert!(device.describe().ends_with(name(products))),
            Err(error) => {
                assert_eq!(products, Products::F16);
                assert!(error.to_string().contains("does not compute with f16"), "{error}");
            }
        }
    }
    let emulated = usual.describe().contains("emulated");
    assert!(!emulated || gpu_choice().products.is_some() || usual.describe().contains("f32"));
}
