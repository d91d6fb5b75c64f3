//! Programs to test with, random operands for them, and runs on the reference and on devices.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use half::{bf16, f16};
use sapwood_kernels::cpu::Isa;
use sapwood_kernels::dual::{Dual, Real};
use sapwood_kernels::reference::{self, Tensor, Tensors};
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

/// How far a device may be from the reference, relative to the largest value of the output.
pub mod tolerance {
    /// f32 arithmetic against f64: sums of some hundred terms.
    pub const F32: f64 = 1e-5;
    /// A cache of halves: a value at the edge of two halves may be rounded either way.
    pub const F16: f64 = 1e-3;
    /// The reference's own gradients against dual numbers, in f64.
    pub const F64: f64 = 1e-10;
    /// Activations rounded to int8 per block of 32 in the dot products of quantized weights.
    pub const INT8: f64 = 2e-2;
}

/// In -1..1, exact in f32.
pub fn signed(rng: &mut SplitMix64) -> f64 {
    rng.signed().into()
}

pub type Operands = Vec<(Slot, Tensor<f64>)>;

/// Random operands for everything a run binds but its outputs. Ids are below `vocabulary`, every
/// third a missing target; caches are zeros of `capacity` rows.
pub fn operands(
    program: &Program,
    tokens: usize,
    capacity: usize,
    vocabulary: usize,
    seed: u64,
) -> Operands {
    let mut rng = SplitMix64(seed);
    let bound = program.slots().filter(|&slot| program.desc(slot).role != Role::Scratch);
    bound
        .map(|slot| {
            let desc = program.desc(slot);
            let rows = match desc.rows {
                Rows::Tokens => tokens,
                Rows::Fixed(rows) => rows,
                Rows::Bound => capacity,
            };
            let target = desc.name == "targets";
            let tensor = Tensor::make(rows, desc.cols, |t, _| match desc.element {
                Element::Id if target && t % 3 == 2 => f64::from(NO_TARGET),
                Element::Id => rng.below(vocabulary) as f64,
                Element::Value(_) if desc.role == Role::State => 0.0,
                Element::Value(_) if desc.name.contains("norm") => 1.0 + 0.25 * signed(&mut rng),
                Element::Value(_) if desc.name.contains("factors") => 1.5 + signed(&mut rng),
                // Weights of unit gain keep every value near 1.
                Element::Value(_) if desc.role == Role::Weight => {
                    signed(&mut rng) * (3.0 / desc.cols as f64).sqrt()
                }
                Element::Value(_) => signed(&mut rng),
            });
            (slot, quantized(desc, tensor))
        })
        .collect()
}

/// The values that the weight's block type can hold.
fn quantized(desc: &Desc, tensor: Tensor<f64>) -> Tensor<f64> {
    let Element::Value(quant) = desc.element else { return tensor };
    let mut values = vec![0.0_f32; tensor.data.len()];
    quant.dequantize(&bytes(quant, &tensor), &mut values);
    Tensor { data: values.into_iter().map(f64::from).collect(), ..tensor }
}

fn floats(tensor: &Tensor<f64>) -> Vec<f32> {
    tensor.data.iter().map(|&value| value as f32).collect()
}

/// Of types that the reference quantizer does not write: blocks that depend on the shape alone.
fn bytes(quant: Quant, tensor: &Tensor<f64>) -> Vec<u8> {
    use Quant::{BF16, F16, F32, Q4_0, Q4_K, Q8_0};
    if ![F32, F16, BF16, Q4_0, Q8_0, Q4_K].contains(&quant) {
        return blocks(quant, tensor.rows, tensor.cols, (tensor.cols as f64).powf(-0.5)).0;
    }
    let mut bytes = Vec::new();
    quant.quantize(&floats(tensor), &mut bytes);
    bytes
}

/// Blocks of random bits under sound scales, and their values: about as large as `gain`.
pub fn blocks(quant: Quant, rows: usize, cols: usize, gain: f64) -> (Vec<u8>, Tensor<f64>) {
    let mut rng = SplitMix64(3);
    let count = rows * cols / quant.block_len();
    let mut bytes = Vec::new();
    for _ in 0..count {
        let mut block: Vec<u8> = (0..quant.block_bytes()).map(|_| rng.bits() as u8).collect();
        let mut put = |at: usize, value: f64| {
            block[at..at + 2].copy_from_slice(&f16::from_f64(gain * value).to_le_bytes());
        };
        match quant {
            Quant::F32 => block = ((gain * signed(&mut rng)) as f32).to_le_bytes().to_vec(),
            Quant::F16 => put(0, signed(&mut rng)),
            Quant::BF16 => block = bf16::from_f64(gain * signed(&mut rng)).to_le_bytes().to_vec(),
            Quant::Q4_0 | Quant::Q5_0 => put(0, 0.1 * signed(&mut rng)),
            Quant::Q8_0 => put(0, 0.01 * signed(&mut rng)),
            Quant::Q4_1 | Quant::Q5_1 => {
                put(0, 0.1 * signed(&mut rng));
                put(2, 0.1 * signed(&mut rng));
            }
            Quant::Q4_K | Quant::Q5_K => {
                put(0, 1e-3 * signed(&mut rng));
                put(2, 1e-3 * signed(&mut rng));
            }
            Quant::Q6_K => put(208, 1e-4 * signed(&mut rng)),
        }
        bytes.extend(block);
    }
    let mut values = vec![0.0; rows * cols];
    quant.dequantize(&bytes, &mut values);
    (bytes, Tensor { rows, cols, data: values.into_iter().map(f64::from).collect() })
}

/// Every slot after a run of the reference.
pub fn reference(program: &Program, operands: &Operands, cursor: Cursor) -> Tensors<f64> {
    let mut tensors = Tensors::new(program);
    operands.iter().for_each(|(slot, tensor)| tensors.set(*slot, tensor.clone()));
    reference::run(program, &mut tensors, cursor);
    tensors
}

/// Derivative of `sum(seed * out)` along `directions`, by dual numbers.
pub fn dual_derivative(
    program: &Program,
    operands: &Operands,
    directions: &Operands,
    out: Slot,
    seed: &Tensor<f64>,
    cursor: Cursor,
) -> f64 {
    let mut tensors = Tensors::new(program);
    for (slot, tensor) in operands {
        let direction = directions.iter().find(|(moved, _)| moved == slot);
        let dual = Tensor::make(tensor.rows, tensor.cols, |i, j| Dual {
            value: tensor[(i, j)],
            tangent: direction.map_or(0.0, |(_, direction)| direction[(i, j)]),
        });
        tensors.set(*slot, dual);
    }
    reference::run(program, &mut tensors, cursor);
    let out = &tensors[out];
    out.data.iter().zip(&seed.data).map(|(out, seed)| out.tangent * seed).sum()
}

/// The buffers of a program on a device, filled. Weights lie together, and so do parameters.
pub fn buffers(
    device: &Device,
    program: &Program,
    operands: &Operands,
    tokens: usize,
) -> Vec<(Slot, Buffer)> {
    let with = |role: Role| move |(slot, _): &&(Slot, _)| program.desc(*slot).role == role;
    let weight = |(slot, tensor): &(Slot, Tensor<f64>)| {
        let Element::Value(quant) = program.desc(*slot).element else { unreachable!("a weight") };
        let bytes = bytes(quant, tensor);
        let range = 0..bytes.len();
        let shape = (tensor.rows, tensor.cols);
        WeightSource { bytes: Arc::new(bytes), range, shape, quant }
    };
    let params: Vec<_> = operands.iter().filter(with(Role::Param)).collect();
    let shapes: Vec<_> = params.iter().map(|(_, tensor)| (tensor.rows, tensor.cols)).collect();
    let mut params = device.zeros_together(&shapes).into_iter();
    let weights = operands.iter().filter(with(Role::Weight)).map(weight).collect();
    let mut weights = device.weights(weights).into_iter();
    let mut buffers: Vec<(Slot, Buffer)> = Vec::new();
    for (slot, tensor) in operands {
        let desc = program.desc(*slot);
        let buffer = match (desc.role, desc.element) {
            (_, Element::Id) => {
                let ids: Vec<u32> = tensor.data.iter().map(|id| id.value() as u32).collect();
                let buffer = device.ids(tensor.rows);
                device.write_ids(&buffer, 0, &ids);
                buffer
            }
            (Role::Weight, _) => weights.next().expect("one for each"),
            (role, Element::Value(quant)) => {
                let buffer = match role {
                    Role::Param => params.next().expect("one for each"),
                    Role::State => device.state(tensor.rows, tensor.cols, quant),
                    _ => device.zeros(tensor.rows, tensor.cols),
                };
                device.write(&buffer, 0, &floats(tensor));
                buffer
            }
        };
        buffers.push((*slot, buffer));
    }
    for &slot in program.outputs() {
        let rows = match program.desc(slot).rows {
            Rows::Fixed(rows) => rows,
            _ => tokens,
        };
        buffers.push((slot, device.zeros(rows, program.desc(slot).cols)));
    }
    buffers
}

pub fn bind(exec: &Exec, buffers: &[(Slot, Buffer)]) -> Bindings {
    exec.bind(&buffers.iter().map(|(slot, buffer)| (*slot, buffer)).collect::<Vec<_>>())
}

/// The first `rows` rows of an output.
pub fn read(device: &Device, buffers: &[(Slot, Buffer)], slot: Slot, rows: usize) -> Vec<f32> {
    let buffer = &buffers.iter().find(|(bound, _)| *bound == slot).expect("an output").1;
    let mut values = vec![0.0; rows * buffer.cols()];
    device.read(buffer, 0, &mut values);
    values
}

/// Declares outputs.
pub fn outputs(program: &mut Program, slots: &[Slot]) {
    slots.iter().for_each(|&slot| program.output(slot));
}

/// Compiles, binds, runs once and reads the outputs.
pub fn run(
    device: &Device,
    program: &Program,
    operands: &Operands,
    cursor: Cursor,
) -> Vec<Vec<f32>> {
    let exec = device.compile(program, cursor.tokens);
    run_exec(device, &exec, program, operands, cursor)
}

pub fn run_exec(
    device: &Device,
    exec: &Exec,
    program: &Program,
    operands: &Operands,
    cursor: Cursor,
) -> Vec<Vec<f32>> {
    let buffers = buffers(device, program, operands, cursor.tokens);
    device.run(exec, &bind(exec, &buffers), cursor);
    let rows = |slot: Slot| match program.desc(slot).rows {
        Rows::Fixed(rows) => rows,
        _ => cursor.tokens,
    };
    let outputs = program.outputs().iter();
    outputs.map(|&slot| read(device, &buffers, slot, rows(slot))).collect()
}

/// The largest magnitude.
pub fn largest(tensor: &Tensor<f64>) -> f64 {
    tensor.data.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Squared differences, relative to the squares of what is expected.
pub fn nmse(got: &[f32], expected: &Tensor<f64>) -> f64 {
    assert_eq!(got.len(), expected.data.len());
    let pairs = got.iter().zip(&expected.data);
    let off: f64 = pairs.map(|(&got, expected)| (f64::from(got) - expected).powi(2)).sum();
    off / expected.data.iter().map(|expected| expected * expected).sum::<f64>()
}

/// Largest difference, relative to the largest expected value, or to `floor` if that is more.
pub fn error(got: &[f32], expected: &Tensor<f64>, floor: f64) -> f64 {
    assert_eq!(got.len(), expected.data.len());
    let most = largest(expected).max(floor);
    got.iter()
        .zip(&expected.data)
        .map(|(&got, &expected)| {
            assert!(got.is_finite(), "{got} where {expected} was expected");
            (f64::from(got) - expected).abs() / most
        })
        .fold(0.0, f64::max)
}

/// The one GPU to test, if only that is to be tested: a back end, and how it computes there.
/// `SAPWOOD_TEST_GPU="gl"`, `SAPWOOD_TEST_GPU="vulkan memory"`.
pub fn only_gpu() -> Option<String> {
    std::env::var("SAPWOOD_TEST_GPU").ok()
}

/// The GPU to test on, emulated if there is no other.
#[cfg(feature = "gpu")]
pub fn gpu_choice() -> GpuChoice {
    let only = only_gpu().unwrap_or("vulkan".into());
    let mut words = only.split_whitespace();
    let backend = words.next().map(str::to_string);
    let mut choice = GpuChoice { software: true, backend, ..GpuChoice::default() };
    for word in words {
        match word {
            "memory" => choice.sharing = Some(Sharing::Memory),
            "subgroups" => choice.sharing = Some(Sharing::Subgroups),
            "registers" => choice.sharing = Some(Sharing::Registers),
            "f16" => choice.products = Some(Products::F16),
            "int8" => choice.products = Some(Products::Int8),
            _ => panic!("SAPWOOD_TEST_GPU: {word}"),
        }
    }
    choice
}

/// A GPU, if this machine has one; if only that is to be tested it has to.
#[cfg(feature = "gpu")]
pub fn gpu() -> Option<Device> {
    static GPU: std::sync::OnceLock<Option<Device>> = std::sync::OnceLock::new();
    let open = || match Device::gpu(&gpu_choice()) {
        Ok(device) => {
            println!("MEASURED: {}", device.describe());
            Some(device)
        }
        Err(error) => {
            assert_eq!(only_gpu(), None, "the GPU to test: {error}");
            println!("SKIPPED: the GPU device: {error}");
            None
        }
    };
    GPU.get_or_init(open).clone()
}

/// Without the feature there is none.
#[cfg(not(feature = "gpu"))]
pub fn gpu() -> Option<Device> {
    None
}

/// Asserts that every output of the program agrees with the reference on every instruction set
/// with one, two and three threads, and on the GPU if there is one; or on it alone ([`only_gpu`]).
pub fn assert_parity(
    name: &str,
    program: &Program,
    operands: &Operands,
    cursor: Cursor,
    tolerance: f64,
) {
    let expected = reference(program, operands, cursor);
    // What is zero but for rounding (a single token's score has no gradient) is as exact as the rest.
    let outputs = program.outputs().iter().map(|&slot| largest(&expected[slot]));
    let floor = 0.1 * outputs.fold(1e-3, f64::max);
    if let Some(device) = gpu() {
        for (&slot, got) in program.outputs().iter().zip(run(&device, program, operands, cursor)) {
            let (name_of, error) = (&program.desc(slot).name, error(&got, &expected[slot], floor));
            assert!(error <= tolerance, "{name}, GPU, {cursor:?}, {name_of}: off by {error:e}");
        }
        assert_eq!(device.fault(), None, "{name}");
    }
    if only_gpu().is_some() {
        return;
    }
    for isa in Isa::available() {
        for threads in 1..=3 {
            let device = Device::cpu_with(Some(threads), isa);
            for (&slot, got) in
                program.outputs().iter().zip(run(&device, program, operands, cursor))
            {
                let error = error(&got, &expected[slot], floor);
                assert!(
                    error <= tolerance,
                    "{name}, {}, {threads} threads, {cursor:?}, {}: off by {error:e}",
                    isa.name(),
                    program.desc(slot).name,
                );
            }
        }
    }
}

/// What a block may have. Widths are odd on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockKind {
    pub bias: bool,
    pub qk_norm: bool,
    pub post_norm: bool,
    pub window: Option<usize>,
    pub interleaved: bool,
    pub gelu: bool,
    pub factors: bool,
    pub lora: bool,
    pub cache: Option<Quant>,
}

pub struct Block {
    pub program: Program,
    pub x: Slot,
    pub y: Slot,
    pub params: Vec<Slot>,
}

/// A transformer block as models write it: forward only.
pub fn block(
    kind: BlockKind,
    quant: Quant,
    [heads, kv_heads, width]: [usize; 3],
    ff: usize,
) -> Block {
    let mut program = Program::new();
    let p = &mut program;
    let (cols, kv_cols) = (heads * width, kv_heads * width);
    let x = p.input("x", cols);
    let mut params = Vec::new();
    let mut linear = |p: &mut Program, name: &str, x: Slot, out: usize, bias: bool| {
        let cols = p.desc(x).cols;
        let w = p.weight(name, out, cols, quant);
        let bias = bias.then(|| p.weight(&format!("{name}.bias"), 1, out, Quant::F32));
        let lora = kind.lora.then(|| {
            let a = p.param(&format!("{name}.a"), 3, cols);
            let b = p.param(&format!("{name}.b"), out, 3);
            params.extend([a, b]);
            Lora { a, b, scale: 0.5 }
        });
        p.linear(x, w, bias, lora)
    };
    let norm = |p: &mut Program, name: &str, x: Slot, cols: usize| {
        let w = p.weight(&format!("norm.{name}"), 1, cols, Quant::F32);
        p.rms_norm(x, w, 1e-5)
    };
    let h = norm(p, "attention", x, cols);
    let mut q = linear(p, "q", h, cols, kind.bias);
    let mut k = linear(p, "k", h, kv_cols, kind.bias);
    let v = linear(p, "v", h, kv_cols, kind.bias);
    if kind.qk_norm {
        (q, k) = (norm(p, "q", q, width), norm(p, "k", k, width));
    }
    let style = if kind.interleaved { RopeStyle::Interleaved } else { RopeStyle::HalfSplit };
    let dims = width / 4 * 4;
    let factors = kind.factors.then(|| p.weight("factors", 1, dims / 2, Quant::F32));
    let rope = Rope { heads, dims, base: 10_000.0, linear_scale: 2.0, style, inverse: false };
    q = p.rope(q, factors, rope);
    k = p.rope(k, factors, Rope { heads: kv_heads, ..rope });
    let cache = kind
        .cache
        .map(|quant| (p.state("keys", kv_cols, quant), p.state("values", kv_cols, quant)));
    let scale = 1.0 / (width as f32).sqrt();
    let attributes = Attention { heads, kv_heads, scale, window: kind.window };
    let o = p.attention([q, k, v], cache, attributes);
    let mut o = linear(p, "o", o, cols, false);
    if kind.post_norm {
        o = norm(p, "post_attention", o, cols);
    }
    let x2 = p.add(o, x);
    let h = norm(p, "ff", x2, cols);
    let gate = linear(p, "gate", h, ff, false);
    let up = linear(p, "up", h, ff, false);
    let act = if kind.gelu { Activation::GeluTanh } else { Activation::Silu };
    let h = p.glu(gate, up, act);
    let mut h = linear(p, "down", h, cols, false);
    if kind.post_norm {
        h = norm(p, "post_ff", h, cols);
    }
    let y = p.add(h, x2);
    p.output(y);
    Block { program, x, y, params }
}

/// The blocks of the architectures that models build, and one with everything.
pub fn kinds() -> [(&'static str, BlockKind); 5] {
    let none = BlockKind { lora: true, ..BlockKind::default() };
    let gemma = BlockKind { qk_norm: true, post_norm: true, gelu: true, window: Some(5), ..none };
    [
        ("llama", BlockKind { interleaved: true, factors: true, ..none }),
        ("qwen2", BlockKind { bias: true, ..none }),
        ("qwen3", BlockKind { qk_norm: true, ..none }),
        ("gemma3", gemma),
        ("everything", BlockKind { bias: true, factors: true, ..gemma }),
    ]
}
