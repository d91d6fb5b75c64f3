//! One token at a time on the GPU: each piece of a block is one kernel, and computes what its steps
//! are defined to compute.

#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::*;
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

/// Positions at the start of a cache, around the 64 keys that are taken at a time, and beyond.
const POSITIONS: [usize; 5] = [0, 1, 63, 64, 200];

/// The GPU, by itself: it counts the kernels of all who use it.
fn alone() -> Option<(Device, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let held = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((gpu()?, held))
}

fn dispatches(device: &Device) -> u64 {
    let Device::Gpu(gpu) = device else { unreachable!("a GPU") };
    gpu.dispatches()
}

/// Caches with something in them.
fn filled(program: &Program, mut operands: Operands) -> Operands {
    let mut rng = SplitMix64(77);
    for (slot, tensor) in &mut operands {
        if program.desc(*slot).role == Role::State {
            // Halves exactly, so that caches of both types hold the same.
            tensor
                .data
                .iter_mut()
                .for_each(|value| *value = (signed(&mut rng) * 64.0).round() / 64.0);
        }
    }
    operands
}

/// Every output and cache after one token at `pos`, against the reference; how many kernels it was.
fn check(device: &Device, name: &str, program: &Program, pos: usize, tolerance: f64) -> u64 {
    let operands = filled(program, operands(program, 1, pos + 3, 1, 9));
    let cursor = Cursor { pos, tokens: 1 };
    let expected = reference(program, &operands, cursor);
    let exec = device.compile(program, 1);
    let buffers = buffers(device, program, &operands, 1);
    let bindings = bind(&exec, &buffers);
    let before = dispatches(device);
    device.run(&exec, &bindings, cursor);
    let count = dispatches(device) - before;
    let is_state = |slot: &Slot| program.desc(*slot).role == Role::State;
    for slot in program.slots().filter(|slot| is_state(slot) || program.outputs().contains(slot)) {
        let rows = if is_state(&slot) { pos + 3 } else { 1 };
        let error = error(&read(device, &buffers, slot, rows), &expected[slot], 1e-2);
        let desc = &program.desc(slot).name;
        assert!(error <= tolerance, "{name}, position {pos}, {desc}: off by {error:e}");
    }
    assert_eq!(device.fault(), None, "{name}");
    count
}

fn pair(p: &mut Program, rank: usize, inputs: usize, outputs: usize) -> Option<Lora> {
    (rank > 0).then(|| {
        let (a, b) = (p.param("a", rank, inputs), p.param("b", outputs, rank));
        Lora { a, b, scale: 0.5 }
    })
}

/// Widths that fill no team of lanes, or several, in whole blocks of the type.
fn widths(quant: Quant) -> [usize; 3] {
    match quant.block_len() {
        1 => [7, 65, 300],
        32 => [32, 96, 1056],
        n => [n, 3 * n, 5 * n],
    }
}

#[test]
fn an_output_and_the_stream_are_one_kernel() {
    let Some((device, _held)) = alone() else { return };
    for quant in Quant::ALL {
        for (cols, rows) in widths(quant).into_iter().zip([5, 17, 130]) {
            for (rank, bias, residual) in
                [(0, true, true), (1, false, true), (8, true, true), (6, false, false)]
            {
                let mut p = Program::new();
                let (x, stream) = (p.input("x", cols), p.input("stream", rows));
                let w = p.weight("w", rows, cols, quant);
                let bias = bias.then(|| p.weight("bias", 1, rows, Quant::F32));
                let lora = pair(&mut p, rank, cols, rows);
                let mut y = p.linear(x, w, bias, lora);
                if residual {
                    y = if rank == 1 { p.add(y, stream) } else { p.add(stream, y) };
                }
                p.output(y);
                let name = format!("{quant:?} ({rows}, {cols}), rank {rank}");
                assert_eq!(check(&device, &name, &p, 0, tolerance::F32), 1, "{name}");
            }
        }
    }
}

#[test]
fn gate_and_up_are_one_kernel() {
    let Some((device, _held)) = alone() else { return };
    let mixed = [[Quant::Q4_K, Quant::Q6_K], [Quant::F32, Quant::Q8_0], [Quant::Q5_1, Quant::F32]];
    for quants in Quant::ALL.map(|quant| [quant; 2]).into_iter().chain(mixed) {
        let wide = quants.into_iter().max_by_key(|quant| quant.block_len()).unwrap();
        for (cols, rows) in widths(wide).into_iter().zip([3, 16, 77]) {
            for ranks in [[0, 0], [8, 3], [0, 64]] {
                let mut p = Program::new();
                let x = p.input("x", cols);
                let norm = p.weight("norm", 1, cols, Quant::F32);
                let h = p.rms_norm(x, norm, 1e-3);
                let [gate, up] = [0, 1].map(|i| {
                    let w = p.weight("w", rows, cols, quants[i]);
                    let lora = pair(&mut p, ranks[i], cols, rows);
                    p.linear(h, w, None, lora)
                });
                let act = if ranks[0] == 0 { Activation::Silu } else { Activation::GeluTanh };
                let y = p.glu(gate, up, act);
                p.output(y);
                let name = format!("{quants:?} ({rows}, {cols}), ranks {ranks:?}");
                assert_eq!(check(&device, &name, &p, 0, tolerance::F32), 1, "{name}");
            }
        }
    }
}

/// Three kernels, of which each leaves to the next what that one's pairs make of its input: from
/// many workgroups and from one, with as many ranks as there is room for.
#[test]
fn pairs_are_multiplied_where_their_input_is_made() {
    let Some((device, _held)) = alone() else { return };
    for (cols, ff) in [(32, 320), (96, 32), (1056, 64), (64, 1600)] {
        for ranks in [[8, 8, 8, 8], [0, 1, 0, 3], [2, 0, 5, 0], [3, 64, 64, 64], [1, 1, 1, 1]] {
            let mut p = Program::new();
            let [x, stream] = ["x", "stream"].map(|name| p.input(name, cols));
            let linear = |p: &mut Program, x: Slot, rows: usize, i: usize| {
                let inputs = p.desc(x).cols;
                let w = p.weight("w", rows, inputs, Quant::Q8_0);
                let lora = pair(p, ranks[i], inputs, rows);
                p.linear(x, w, None, lora)
            };
            let y = linear(&mut p, x, cols, 0);
            let y = p.add(y, stream);
            let norm = p.weight("norm", 1, cols, Quant::F32);
            let h = p.rms_norm(y, norm, 1e-3);
            let [gate, up] = [1, 2].map(|i| linear(&mut p, h, ff, i));
            let inner = p.glu(gate, up, Activation::Silu);
            let z = linear(&mut p, inner, cols, 3);
            let z = p.add(y, z);
            outputs(&mut p, &[y, z]);
            let name = format!("({ff}, {cols}), ranks {ranks:?}");
            assert_eq!(check(&device, &name, &p, 0, tolerance::F32), 3, "{name}");
        }
    }
}

#[test]
fn a_norm_and_the_stream_are_one_kernel() {
    let Some((device, _held)) = alone() else { return };
    for cols in [1, 7, 255, 256, 257, 1000] {
        for ranks in [[0, 0], [8, 8], [0, 5], [64, 63]] {
            let mut p = Program::new();
            let [x, stream] = ["x", "stream"].map(|name| p.input(name, cols));
            let norm = p.weight("norm", 1, cols, Quant::F32);
            let h = p.rms_norm(x, norm, 0.1);
            let y = p.add(stream, h);
            let norm = p.weight("norm", 1, cols, Quant::F32);
            let h = p.rms_norm(y, norm, 0.1);
            let [gate, up] = ranks.map(|rank| {
                let w = p.weight("w", 5, cols, Quant::F16);
                let lora = pair(&mut p, rank, cols, 5);
                p.linear(h, w, None, lora)
            });
            let z = p.glu(gate, up, Activation::GeluTanh);
            outputs(&mut p, &[y, z]);
            let name = format!("{cols} columns, ranks {ranks:?}");
            assert_eq!(check(&device, &name, &p, 0, tolerance::F32), 2, "{name}");
        }
    }
}

/// What the first half of a block may have.
#[derive(Clone, Copy, Debug)]
struct Heads {
    /// Query heads, key-value heads, width of a head, columns that turn.
    shape: [usize; 4],
    style: RopeStyle,
    bias: bool,
    norm: bool,
    rank: usize,
    window: Option<usize>,
    cache: Quant,
    quants: [Quant; 3],
}

fn projection(heads: Heads, cols: usize) -> Program {
    let Heads { shape: [h, g, width, dims], style, window, .. } = heads;
    let mut p = Program::new();
    let x = p.input("x", cols);
    let norm = p.weight("norm", 1, cols, Quant::F32);
    let normed = p.rms_norm(x, norm, 1e-3);
    let mut qkv = [0, 1, 2].map(|i| {
        let rows = [h, g, g][i] * width;
        let w = p.weight("w", rows, cols, heads.quants[i]);
        let bias = heads.bias.then(|| p.weight("bias", 1, rows, Quant::F32));
        let lora = pair(&mut p, heads.rank, cols, rows);
        p.linear(normed, w, bias, lora)
    });
    if heads.norm {
        for x in &mut qkv[..2] {
            let w = p.weight("norm of heads", 1, width, Quant::F32);
            *x = p.rms_norm(*x, w, 1e-3);
        }
    }
    let factors = heads.bias.then(|| p.weight("factors", 1, dims / 2, Quant::F32));
    for (x, heads) in qkv.iter_mut().zip([h, g]) {
        let (base, linear_scale) = (1e4, 1.0);
        *x = p.rope(*x, factors, Rope { heads, dims, base, linear_scale, style, inverse: false });
    }
    let [keys, values] = ["k", "v"].map(|name| p.state(name, g * width, heads.cache));
    let attributes = Attention { heads: h, kv_heads: g, scale: 0.3, window };
    let y = p.attention(qkv, Some((keys, values)), attributes);
    p.output(y);
    p
}

#[test]
fn projections_and_attention_are_a_kernel_each() {
    let Some((device, _held)) = alone() else { return };
    use Quant::{F16, F32, Q4_0, Q4_K, Q5_0, Q6_K, Q8_0};
    let types = Quant::ALL.map(|quant| [quant; 3]).into_iter();
    let types =
        types.chain([[Q4_0, Q4_0, Q8_0], [F32, Q5_0, F32], [Q8_0, F32, F32], [Q4_K, Q4_K, Q6_K]]);
    let shapes = [[2, 1, 8, 8], [3, 3, 20, 12], [6, 2, 64, 64], [4, 1, 256, 64], [2, 2, 6, 6]];
    for (i, quants) in types.enumerate() {
        for (j, shape) in shapes.into_iter().enumerate() {
            // Every property meets every other somewhere.
            let heads = Heads {
                shape,
                style: [RopeStyle::HalfSplit, RopeStyle::Interleaved][(i + j) % 2],
                bias: (i / 2 + j) % 2 == 0,
                norm: (i + j / 2) % 2 == 0,
                rank: [0, 8, 3][(i + j) % 3],
                window: [None, Some(70)][j / 2 % 2],
                cache: [F16, F32][(i + i / 4) % 2],
                quants,
            };
            let widest = quants.into_iter().map(Quant::block_len).max().unwrap();
            let cols = if widest == 1 { 77 } else { 3 * widest };
            let program = projection(heads, cols);
            let tolerance = if heads.cache == F16 { tolerance::F16 } else { tolerance::F32 };
            for pos in POSITIONS {
                let name = format!("{heads:?}");
                assert_eq!(check(&device, &name, &program, pos, tolerance), 2, "{name}");
            }
        }
    }
}

/// Heads that can't be cut, or don't fill words, or are too wide: fewer things at once, and the
/// same numbers.
#[test]
fn what_does_not_fit_the_kernels_runs_step_by_step() {
    let Some((device, _held)) = alone() else { return };
    let heads = Heads {
        shape: [2, 1, 17, 16],
        style: RopeStyle::HalfSplit,
        bias: true,
        norm: false,
        rank: 3,
        window: None,
        cache: Quant::F16,
        quants: [Quant::Q8_0; 3],
    };
    let odd = projection(heads, 96);
    assert!(check(&device, "an odd head of halves", &odd, 5, tolerance::F16) > 3);
    let wide = projection(Heads { shape: [2, 1, 264, 16], norm: true, ..heads }, 96);
    assert!(check(&device, "a wide head", &wide, 5, tolerance::F16) > 3);
    let many = projection(Heads { quants: [Quant::Q8_0, Quant::Q4_0, Quant::Q5_0], ..heads }, 96);
    assert!(check(&device, "three types", &many, 5, tolerance::F16) > 3);
    let high = projection(Heads { shape: [2, 1, 16, 16], rank: 65, ..heads }, 96);
    assert!(check(&device, "a high rank", &high, 5, tolerance::F16) > 3);
}

/// Buffers that were made one by one share no page.
#[test]
fn what_does_not_lie_together_runs_step_by_step() {
    let Some((device, _held)) = alone() else { return };
    let kind = BlockKind { bias: true, lora: true, cache: Some(Quant::F16), ..kinds()[1].1 };
    let Block { program, y, .. } = block(kind, Quant::F32, [4, 2, 16], 56);
    let operands = operands(&program, 1, 4, 1, 3);
    let expected = reference(&program, &operands, Cursor { pos: 0, tokens: 1 });
    let exec = device.compile(&program, 1);
    let together = buffers(&device, &program, &operands, 1);
    let apart: Vec<(Slot, Buffer)> = together
        .iter()
        .map(|(slot, buffer)| {
            let desc = program.desc(*slot);
            if desc.role == Role::State || program.outputs().contains(slot) {
                return (*slot, buffer.clone());
            }
            let mut values = vec![0.0; buffer.rows() * buffer.cols()];
            device.read(buffer, 0, &mut values);
            (*slot, device.values(buffer.rows(), buffer.cols(), &values))
        })
        .collect();
    let mut counts = Vec::new();
    for buffers in [&together, &apart] {
        let before = dispatches(&device);
        device.run(&exec, &bind(&exec, buffers), Cursor { pos: 0, tokens: 1 });
        counts.push(dispatches(&device) - before);
        let got = read(&device, buffers, y, 1);
        assert!(error(&got, &expected[y], 0.0) <= tolerance::F16);
    }
    assert_eq!(counts[0], 5);
    assert!(counts[1] > 10, "{counts:?}");
}

#[test]
fn whole_blocks_are_what_their_steps_are() {
    let Some((device, _held)) = alone() else { return };
    for (name, kind) in kinds() {
        for (lora, quant) in [(false, Quant::Q4_0), (true, Quant::Q8_0), (true, Quant::F32)] {
            let kind = BlockKind { lora, cache: Some(Quant::F16), ..kind };
            let Block { program, .. } = block(kind, quant, [4, 2, 16], 96);
            let name = format!("{name}, {quant:?}, {lora}");
            for pos in POSITIONS {
                let count = check(&device, &name, &program, pos, tolerance::F16);
                // A norm behind a linear is a kernel with the sum behind it.
                assert!(count <= if kind.post_norm { 7 } else { 5 }, "{name}: {count} kernels");
                let operands = filled(&program, operands(&program, 1, pos + 1, 1, 9));
                let cursor = Cursor { pos, tokens: 1 };
                let [fused, unfused] =
                    [device.compile(&program, 1), device.compile_unfused(&program, 1)]
                        .map(|exec| run_exec(&device, &exec, &program, &operands, cursor));
                let most = unfused[0].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                // Sums in another order: a key at the edge of two halves may be rounded either way.
                for (a, b) in fused[0].iter().zip(&unfused[0]) {
                    let off = f64::from((a - b).abs() / most);
                    assert!(off <= tolerance::F16, "{name}: {a} for {b}");
                }
            }
        }
    }
}

/// A layer of Qwen2.5-0.5B, with and without pairs of rank 8 on all seven linears.
#[test]
fn a_layer_of_half_a_billion_parameters_is_five_kernels() {
    let Some((device, _held)) = alone() else { return };
    for lora in [false, true] {
        let kind = BlockKind { bias: true, lora, cache: Some(Quant::F16), ..BlockKind::default() };
        let Block { program, y, .. } = block(kind, Quant::Q4_0, [14, 2, 64], 4864);
        let operands = operands(&program, 1, 64, 1, 3);
        let exec = device.compile(&program, 1);
        let buffers = buffers(&device, &program, &operands, 1);
        let bindings = bind(&exec, &buffers);
        let before = dispatches(&device);
        // As many layers as the model has; the first run prepares what the others repeat.
        device.run(&exec, &bindings, Cursor { pos: 0, tokens: 1 });
        read(&device, &buffers, y, 1);
        let start = Instant::now();
        (0..24).for_each(|_| device.run(&exec, &bindings, Cursor { pos: 0, tokens: 1 }));
        let spent = start.elapsed().as_micros();
        let count = (dispatches(&device) - before) as f64 / 25.0;
        println!("MEASURED: {count} dispatches a layer, pairs: {lora}, 24 recorded in {spent} us");
        assert!(count <= 5.0);
        read(&device, &buffers, y, 1);
        assert_eq!(device.fault(), None);
    }
}

/// Embedding, final norm, head and choice.
#[test]
fn around_the_layers_a_token_is_four_kernels() {
    let Some((device, _held)) = alone() else { return };
    let (words, cols) = (700, 96);
    let mut start = Program::new();
    let ids = start.ids("ids");
    let table = start.weight("table", words, cols, Quant::Q8_0);
    let embedded = start.embed(ids, table, 1.0);
    start.output(embedded);
    let mut end = Program::new();
    let x = end.input("x", cols);
    let norm = end.weight("norm", 1, cols, Quant::F32);
    let head = end.weight("head", words, cols, Quant::Q8_0);
    let h = end.rms_norm(x, norm, 1e-5);
    let logits = end.linear(h, head, None, None);
    end.output(logits);
    let [first, last] = [(&start, 1), (&end, 2)].map(|(program, seed)| {
        let operands = operands(program, 1, 0, words, seed);
        let buffers = buffers(&device, program, &operands, 1);
        (device.compile(program, 1), buffers, operands)
    });
    let of = |buffers: &[(Slot, Buffer)], slot: Slot| {
        buffers.iter().find(|(bound, _)| *bound == slot).unwrap().1.clone()
    };
    let stream = of(&first.1, embedded);
    let mut last_buffers = last.1.clone();
    last_buffers.iter_mut().for_each(|(slot, buffer)| {
        if *slot == x {
            *buffer = stream.clone();
        }
    });
    let (token, row) = (of(&first.1, ids), of(&last_buffers, logits));
    let [first_bindings, last_bindings] = [bind(&first.0, &first.1), bind(&last.0, &last_buffers)];
    // The first time the kernel is tried.
    device.argmax_into(&row, 0, &device.ids(1), 0);
    let mut expected = first.2;
    for _ in 0..5 {
        let before = dispatches(&device);
        let cursor = Cursor { pos: 0, tokens: 1 };
        device.run(&first.0, &first_bindings, cursor);
        device.run(&last.0, &last_bindings, cursor);
        device.argmax_into(&row, 0, &token, 0);
        assert_eq!(dispatches(&device) - before, 4);
        let mut then = last.2.clone();
        let made = &reference(&start, &expected, cursor)[embedded];
        then.iter_mut().filter(|(slot, _)| *slot == x).for_each(|(_, value)| *value = made.clone());
        let row = &reference(&end, &then, cursor)[logits].data;
        let best = (0..words).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let mut chosen = [0];
        device.read_ids(&token, 0, &mut chosen);
        assert_eq!(chosen[0] as usize, best);
        expected.iter_mut().filter(|(slot, _)| *slot == ids).for_each(|(_, id)| {
            id.data[0] = best as f64;
        });
    }
    assert_eq!(device.fault(), None);
}
