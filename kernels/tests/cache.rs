//! Key-value caches: one token at a time, in chunks, or all at once is the same.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sapwood_kernels::*;

/// Runs `tokens` tokens of `x` in runs of the given lengths over one cache.
fn in_runs(device: &Device, block: &Block, operands: &Operands, runs: &[usize]) -> Vec<f32> {
    let most = *runs.iter().max().unwrap();
    let exec = device.compile(&block.program, most);
    let buffers = buffers(device, &block.program, operands, most);
    let bindings = bind(&exec, &buffers);
    let x = &buffers.iter().find(|(slot, _)| *slot == block.x).unwrap().1;
    let all: Vec<f32> = {
        let tensor = &operands.iter().find(|(slot, _)| *slot == block.x).unwrap().1;
        tensor.data.iter().map(|&value| value as f32).collect()
    };
    let cols = x.cols();
    let (mut pos, mut got) = (0, Vec::new());
    for &tokens in runs {
        device.write(x, 0, &all[pos * cols..(pos + tokens) * cols]);
        device.run(&exec, &bindings, Cursor { pos, tokens });
        got.extend(read(device, &buffers, block.y, tokens));
        pos += tokens;
    }
    got
}

#[test]
fn decode_and_chunks_equal_prefill_at_once() {
    for (name, kind) in kinds() {
        for (quant, tolerance) in [(Quant::F32, tolerance::F32), (Quant::F16, tolerance::F16)] {
            let cached =
                block(BlockKind { cache: Some(quant), ..kind }, Quant::F32, [4, 2, 16], 56);
            let operands = operands(&cached.program, 70, 80, 1, 21);
            let cursor = Cursor { pos: 0, tokens: 70 };
            let expected = &reference(&cached.program, &operands, cursor)[cached.y];
            let cpus = cpu::Isa::available().into_iter();
            let cpus = cpus.flat_map(|isa| [1, 3].map(|n| Device::cpu_with(Some(n), isa)));
            for device in cpus.chain(gpu()) {
                for runs in [&[1; 70][..], &[70], &[33, 1, 36], &[5, 64, 1]] {
                    let got = in_runs(&device, &cached, &operands, runs);
                    let error = error(&got, expected, 0.0);
                    let device = device.describe();
                    assert!(error <= tolerance, "{name} {quant:?} {runs:?} {device}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn the_same_runs_give_the_same_bits() {
    for (_, kind) in kinds() {
        let cached =
            block(BlockKind { cache: Some(Quant::F16), ..kind }, Quant::Q8_0, [4, 2, 16], 64);
        let operands = operands(&cached.program, 40, 40, 1, 2);
        let device = Device::cpu(Some(2));
        let runs: &[usize] = &[17, 1, 1, 21];
        let first = in_runs(&device, &cached, &operands, runs);
        for _ in 0..3 {
            assert_eq!(first, in_runs(&device, &cached, &operands, runs));
        }
    }
}

#[test]
#[should_panic(expected = "cache ends")]
fn a_run_past_the_capacity_is_refused() {
    let kind = BlockKind { cache: Some(Quant::F16), ..BlockKind::default() };
    let cached = block(kind, Quant::F32, [2, 1, 8], 8);
    let operands = operands(&cached.program, 5, 8, 1, 2);
    let device = Device::cpu(Some(1));
    let exec = device.compile(&cached.program, 5);
    let buffers = buffers(&device, &cached.program, &operands, 5);
    device.run(&exec, &bind(&exec, &buffers), Cursor { pos: 4, tokens: 5 });
}

#[test]
fn a_cache_is_the_same_as_none() {
    for (_, kind) in kinds() {
        let cached =
            block(BlockKind { cache: Some(Quant::F32), ..kind }, Quant::F32, [4, 2, 16], 56);
        let plain = block(kind, Quant::F32, [4, 2, 16], 56);
        let operands = operands(&cached.program, 9, 9, 1, 21);
        let bound = plain.program.slots().filter(|&s| plain.program.desc(s).role != Role::Scratch);
        let is_state = |slot: Slot| cached.program.desc(slot).role == Role::State;
        let without = operands.iter().filter(|(slot, _)| !is_state(*slot));
        let without =
            without.zip(bound).map(|((_, tensor), slot)| (slot, tensor.clone())).collect();
        let cursor = Cursor { pos: 0, tokens: 9 };
        let with = &reference(&cached.program, &operands, cursor)[cached.y];
        assert_eq!(with, &reference(&plain.program, &without, cursor)[plain.y]);
    }
}
