//! Every kernel is tried before a program uses it: on small inputs, against `reference.rs`.
//!
//! A driver that compiles a kernel wrongly does not crash; it talks nonsense, or trains it. So the
//! kernels of a program are tried when it is compiled, each once per opened adapter, and those that
//! no program needs not at all. A kernel that is off makes the device fail with its name.

mod trials;

use std::sync::Arc;
use std::time::Instant;

use half::f16;

use super::Gpu;
use super::shader::Kernel;
use crate::buffer::{Buffer, Storage};
use crate::fault::DeviceError;
use crate::op::NO_TARGET;
use crate::program::Program;
use crate::quant::Quant;
use crate::reference::{self, Tensor, Tensors};
use crate::rng::SplitMix64;
use crate::types::{Cursor, Desc, Element, Role, Rows, Slot, WeightSource};
use trials::{Group, WORDS};

/// How far from the reference a kernel may be, relative to the largest value. Ten times what the
/// tests ask for of f32: the exponentials and roots of some drivers are a few bits coarser. A
/// kernel that is wrong is off by far more.
const TOLERANCE: f64 = 1e-4;

/// Where a kernel rounds weights to halves, or what it keeps: a value at the edge of two may go
/// either way.
const HALVES: f64 = 2e-3;

/// Where activations are rounded to bytes.
const BYTES: f64 = 2e-2;

/// Tries the kernels of a program that have not been tried. What is wrong is the device's fault
/// from then on.
pub(crate) fn try_kernels(gpu: &Gpu, needed: &[Kernel]) {
    // Held to the end: nobody's program runs on a kernel while it is being tried.
    let mut tried = gpu.tried.lock();
    let start = Instant::now();
    let mut trials: Vec<Trial> = Vec::new();
    for &kernel in needed.iter().filter(|&&kernel| tried.kernels.insert(kernel)) {
        let group = Group::of(kernel, needed);
        match trials.iter_mut().find(|trial| trial.group == group) {
            Some(trial) => trial.kernels.push(kernel),
            None => trials.push(Trial::new(group, kernel)),
        }
    }
    // All are on their way before the first is waited for.
    let started: Vec<_> = trials.iter().map(|trial| trial.start(gpu)).collect();
    for (trial, buffers) in trials.iter().zip(started) {
        let off_by = trial.off_by(gpu, &buffers);
        if off_by > trial.group.tolerance() {
            let names: Vec<String> = trial.kernels.iter().map(|kernel| kernel.name()).collect();
            let (kernel, off_by) = (names.join(" or "), off_by as f32);
            gpu.context.fail(DeviceError::SelfTest { kernel, off_by });
        }
    }
    tried.spent += start.elapsed();
}

impl Group {
    fn tolerance(self) -> f64 {
        match self {
            Group::Bytes(_) => BYTES,
            Group::One(Kernel::Project { cache: Quant::F16, .. }) => HALVES,
            Group::One(kernel) if kernel.needs_f16() => HALVES,
            _ => TOLERANCE,
        }
    }
}

/// A small program, its operands, and what the reference makes of them.
struct Trial {
    group: Group,
    kernels: Vec<Kernel>,
    program: Program,
    cursor: Cursor,
    operands: Vec<Operand>,
    expected: Tensors<f64>,
}

struct Operand {
    slot: Slot,
    tensor: Tensor<f64>,
    /// Of a weight: its blocks.
    bytes: Vec<u8>,
}

/// Positions of a cache that is tried.
const CAPACITY: usize = 8;

impl Trial {
    fn new(group: Group, kernel: Kernel) -> Trial {
        let (program, cursor) = trials::program(group);
        let mut random = SplitMix64(7);
        let bound = program.slots().filter(|&slot| program.desc(slot).role != Role::Scratch);
        let operands: Vec<Operand> = bound
            .map(|slot| {
                let (bytes, tensor) = draw(&mut random, program.desc(slot), cursor.tokens);
                Operand { slot, tensor, bytes }
            })
            .collect();
        let mut expected = Tensors::new(&program);
        operands.iter().for_each(|operand| expected.set(operand.slot, operand.tensor.clone()));
        reference::run(&program, &mut expected, cursor);
        Trial { group, kernels: vec![kernel], program, cursor, operands, expected }
    }

    fn start(&self, gpu: &Gpu) -> Vec<(Slot, Buffer)> {
        let of =
            |role: Role| move |operand: &&Operand| self.program.desc(operand.slot).role == role;
        let shape = |operand: &Operand| (operand.tensor.rows, operand.tensor.cols);
        // Together, as kernels for one token need them.
        let weights = self.operands.iter().filter(of(Role::Weight));
        let shapes: Vec<_> = weights.clone().map(shape).collect();
        let weights = gpu.weights(weights.map(|weight| self.source(weight)).collect());
        let weights = weights.into_iter().zip(shapes);
        let mut weights =
            weights.map(|(made, (rows, cols))| Buffer::new(rows, cols, Storage::Gpu(made)));
        let params = self.operands.iter().filter(of(Role::Param));
        let mut params = zeros(gpu, &params.map(shape).collect::<Vec<_>>(), F32).into_iter();
        let make = |operand: &Operand| {
            let made = match self.program.desc(operand.slot).role {
                Role::Weight => weights.next(),
                Role::Param => params.next(),
                _ => None,
            };
            (operand.slot, self.filled(gpu, operand, made))
        };
        let mut buffers: Vec<(Slot, Buffer)> = self.operands.iter().map(make).collect();
        for &slot in self.program.outputs() {
            let Tensor { rows, cols, .. } = self.expected[slot];
            buffers.push((slot, zeros(gpu, &[(rows, cols)], F32).remove(0)));
        }
        let exec = gpu.compile(&self.program, self.cursor.tokens, true);
        let given: Vec<(Slot, &Buffer)> = buffers.iter().map(|(slot, b)| (*slot, b)).collect();
        gpu.run(&exec, &exec.bind(&given), self.cursor);
        buffers
    }

    fn source(&self, weight: &Operand) -> WeightSource {
        let Element::Value(quant) = self.program.desc(weight.slot).element else {
            unreachable!("a weight")
        };
        let shape = (weight.tensor.rows, weight.tensor.cols);
        let range = 0..weight.bytes.len();
        WeightSource { bytes: Arc::new(weight.bytes.clone()), range, shape, quant }
    }

    /// With the operand's values; `made` is a weight, or has room for a parameter.
    fn filled(&self, gpu: &Gpu, operand: &Operand, made: Option<Buffer>) -> Buffer {
        let (desc, tensor) = (self.program.desc(operand.slot), &operand.tensor);
        let shape = [(tensor.rows, tensor.cols)];
        let buffer = made.unwrap_or_else(|| zeros(gpu, &shape, desc.element).remove(0));
        match (desc.role, desc.element) {
            (Role::Weight, _) => {}
            (_, Element::Id) => {
                let ids: Vec<u32> = tensor.data.iter().map(|&id| id as u32).collect();
                gpu.write_ids(buffer.on_gpu(), 0, &ids);
            }
            _ => {
                let values: Vec<f32> = tensor.data.iter().map(|&value| value as f32).collect();
                gpu.write(buffer.on_gpu(), 0, &values);
            }
        }
        buffer
    }

    /// The largest difference in what the program writes, relative to the largest value.
    fn off_by(&self, gpu: &Gpu, buffers: &[(Slot, Buffer)]) -> f64 {
        let is_state = |slot: Slot| self.program.desc(slot).role == Role::State;
        let is_output = |slot: Slot| self.program.outputs().contains(&slot);
        let written = buffers.iter().filter(|(slot, _)| is_state(*slot) || is_output(*slot));
        let of = |(slot, buffer): &(Slot, Buffer)| {
            let expected = &self.expected[*slot];
            let mut got = vec![0.0_f32; expected.data.len()];
            gpu.read(buffer.on_gpu(), 0, &mut got);
            let most = expected.data.iter().fold(1e-3_f64, |most, value| most.max(value.abs()));
            let pairs = got.iter().zip(&expected.data);
            let off = pairs.map(|(&got, expected)| (f64::from(got) - expected).abs() / most);
            // A comparison with what is no number is lost in `max`.
            off.fold(0.0, |most, off| if off.is_nan() { f64::INFINITY } else { off.max(most) })
        };
        written.map(of).fold(0.0, f64::max)
    }
}

const F32: Element = Element::Value(Quant::F32);

/// Zeroed buffers that are used together.
fn zeros(gpu: &Gpu, shapes: &[(usize, usize)], element: Element) -> Vec<Buffer> {
    let made = shapes.iter().zip(gpu.zeroed(shapes, element));
    made.map(|(&(rows, cols), made)| Buffer::new(rows, cols, Storage::Gpu(made))).collect()
}

/// In -1..1, exact in f16.
pub(super) fn value(random: &mut SplitMix64) -> f32 {
    (random.bits() >> 53) as f32 / 1024.0 - 1.0
}

/// What a slot is given, and of a weight its blocks.
fn draw(random: &mut SplitMix64, desc: &Desc, tokens: usize) -> (Vec<u8>, Tensor<f64>) {
    let rows = match desc.rows {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Bound => CAPACITY,
    };
    let make = |value: &mut dyn FnMut(usize) -> f64| {
        (Vec::new(), Tensor::make(rows, desc.cols, |t, _| value(t)))
    };
    match (desc.role, desc.element) {
        (_, Element::Id) => make(&mut |t| match t % 3 {
            2 if desc.name == "targets" => f64::from(NO_TARGET),
            _ => random.below(WORDS) as f64,
        }),
        (Role::Weight, Element::Value(quant)) => {
            let blocks = rows * desc.cols / quant.block_len();
            let bytes: Vec<u8> = (0..blocks).flat_map(|_| block(random, quant)).collect();
            let mut values = vec![0.0; rows * desc.cols];
            quant.dequantize(&bytes, &mut values);
            let data = values.into_iter().map(f64::from).collect();
            (bytes, Tensor { rows, cols: desc.cols, data })
        }
        _ => make(&mut |_| value(random).into()),
    }
}

/// Random bits under sound scales.
fn block(random: &mut SplitMix64, quant: Quant) -> Vec<u8> {
    let mut block: Vec<u8> = (0..quant.block_bytes()).map(|_| random.bits() as u8).collect();
    let (scales, size): (&[usize], f32) = match quant {
        Quant::F32 => return value(random).to_le_bytes().to_vec(),
        Quant::BF16 => return half::bf16::from_f32(value(random)).to_le_bytes().to_vec(),
        Quant::F16 => (&[0], 1.0),
        Quant::Q4_0 | Quant::Q5_0 => (&[0], 0.1),
        Quant::Q8_0 => (&[0], 0.01),
        Quant::Q4_1 | Quant::Q5_1 => (&[0, 2], 0.1),
        Quant::Q4_K | Quant::Q5_K => (&[0, 2], 2e-3),
        Quant::Q6_K => (&[208], 2e-4),
    };
    for &at in scales {
        let scale = f16::from_f32(size * value(random));
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }
    block
}
