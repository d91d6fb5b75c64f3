//! Every kernel is tried before a program uses it: on small inputs, against `reference.rs`.
//!
//! A driver that compiles a kernel wrongly does not crash; it talks nonsense, or trains it. So the
//! kernels of a program are tried when it is compiled, each once per opened adapter, and those that
//! no program needs not at all. A kernel that is off makes the device fail with its name.

mod trials;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use half::f16;

use super::Gpu;
use super::shader::{Kernel, SHARD};
use crate::device::{Buffer, Cursor, Device, Exec, WeightSource};
use crate::fault::DeviceError;
use crate::op::NO_TARGET;
use crate::program::{Desc, Element, Program, Role, Rows, Slot};
use crate::quant::Quant;
use crate::reference::{self, Tensor, Tensors};
use crate::top::{merged, top};

/// How far from the reference a kernel may be, relative to the largest value. Ten times what the
/// tests ask for of f32: the exponentials and roots of some drivers are a few bits coarser. A
/// kernel that is wrong is off by far more.
const TOLERANCE: f64 = 1e-4;

/// Where a kernel rounds weights to halves, or what it keeps: a value at the edge of two may go
/// either way.
const HALVES: f64 = 2e-3;

/// Where activations are rounded to bytes.
const BYTES: f64 = 2e-2;

/// What has been tried.
#[derive(Default)]
pub(super) struct Tried(Mutex<Known>);

#[derive(Default)]
struct Known {
    kernels: HashSet<Kernel>,
    spent: Duration,
}

impl Tried {
    /// How many kernels, and the time that it took.
    pub fn cost(&self) -> (usize, Duration) {
        let known = self.lock();
        (known.kernels.len(), known.spent)
    }

    /// What a panicking trial left is not tried again.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries the kernels of a program that have not been tried. What is wrong is the device's fault
/// from then on.
pub(crate) fn try_kernels(device: &Device, gpu: &Gpu, needed: &[Kernel]) {
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
    let started: Vec<_> = trials.iter().map(|trial| trial.start(device)).collect();
    for (trial, buffers) in trials.iter().zip(started) {
        let off_by = trial.off_by(device, &buffers);
        if off_by > trial.group.tolerance() {
            let names: Vec<String> = trial.kernels.iter().map(|kernel| kernel.name()).collect();
            let (kernel, off_by) = (names.join(" or "), off_by as f32);
            gpu.context.fail(DeviceError::SelfTest { kernel, off_by });
        }
    }
    tried.spent += start.elapsed();
}

/// Tries a kernel that orders logits, which no program calls, when it is needed first.
pub(super) fn try_order(gpu: &Gpu, kernel: Kernel) {
    let mut tried = gpu.tried.lock();
    if !tried.kernels.insert(kernel) {
        return;
    }
    let start = Instant::now();
    let mut random = Random(7);
    // More than a shard of them, and one that is no number.
    let mut row: Vec<f32> = (0..SHARD + 5).map(|_| random.value()).collect();
    row[1] = f32::NAN;
    let logits = gpu.zeroed(&[(1, row.len())], Element::Value(Quant::F32)).remove(0);
    let chosen = gpu.zeroed(&[(2, 1)], Element::Id).remove(0);
    gpu.write(&logits, 0, &row);
    let expected = top(&row, 5);
    let right = if kernel == Kernel::Top {
        gpu.top_untried(&logits, 0, row.len(), 5) == expected
    } else {
        let mut words = [[u32::MAX; 2]];
        gpu.argmax_untried(&logits, 0, row.len(), &chosen, 0);
        gpu.read_ids(&chosen, 0, words.as_flattened_mut());
        gpu.fault().is_none() && merged(&words, 1)[0] == expected[0]
    };
    if !right {
        gpu.context.fail(DeviceError::SelfTest { kernel: kernel.name(), off_by: 1.0 });
    }
    tried.spent += start.elapsed();
}

/// Kernels that only a common result tells about.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    One(Kernel),
    /// Thin products and their sums.
    Pair,
    /// Without a cache.
    AttentionGrad,
    /// Over a head of this type.
    Head(Quant),
    /// Rounded activations, and weights of this type.
    Bytes(Quant),
}

impl Group {
    fn of(kernel: Kernel, needed: &[Kernel]) -> Group {
        match kernel {
            Kernel::Thin | Kernel::Sum => Group::Pair,
            Kernel::AttentionDelta | Kernel::AttentionGradQ | Kernel::AttentionGradKv => {
                Group::AttentionGrad
            }
            Kernel::HeadShard | Kernel::HeadLogp | Kernel::HeadSlopes => {
                // A type whose kernels the program needs anyway.
                let known = needed.iter().find_map(|kernel| match kernel {
                    Kernel::LinearGrad(quant) => Some(*quant),
                    _ => None,
                });
                let other = needed.iter().find_map(|kernel| match kernel {
                    Kernel::LinearFew(quant) => Some(*quant),
                    _ => None,
                });
                Group::Head(known.or(other).unwrap_or(Quant::F32))
            }
            Kernel::LinearInt8(quant) => Group::Bytes(quant),
            Kernel::Round => needed
                .iter()
                .map(|&other| Group::of(other, &[]))
                .find(|group| matches!(group, Group::Bytes(_)))
                .unwrap_or(Group::Bytes(Quant::Q8_0)),
            _ => Group::One(kernel),
        }
    }

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

/// Rows of a table of tokens that is tried, or of a head.
const WORDS: usize = 41;

impl Trial {
    fn new(group: Group, kernel: Kernel) -> Trial {
        let (program, cursor) = trials::program(group);
        let mut random = Random(7);
        let bound = program.slots().filter(|&slot| program.desc(slot).role != Role::Scratch);
        let operands: Vec<Operand> = bound
            .map(|slot| {
                let (bytes, tensor) = random.operand(program.desc(slot), cursor.tokens);
                Operand { slot, tensor, bytes }
            })
            .collect();
        let mut expected = Tensors::new(&program);
        operands.iter().for_each(|operand| expected.set(operand.slot, operand.tensor.clone()));
        reference::run(&program, &mut expected, cursor);
        Trial { group, kernels: vec![kernel], program, cursor, operands, expected }
    }

    fn start(&self, device: &Device) -> Vec<(Slot, Buffer)> {
        let of =
            |role: Role| move |operand: &&Operand| self.program.desc(operand.slot).role == role;
        // Together, as kernels for one token need them.
        let weights = self.operands.iter().filter(of(Role::Weight));
        let weights = device.weights(weights.map(|weight| self.source(weight)).collect());
        let params = self.operands.iter().filter(of(Role::Param));
        let shapes: Vec<_> = params.map(|o| (o.tensor.rows, o.tensor.cols)).collect();
        let params = device.zeros_together(&shapes);
        let (mut weights, mut params) = (weights.into_iter(), params.into_iter());
        let make = |operand: &Operand| {
            let made = match self.program.desc(operand.slot).role {
                Role::Weight => weights.next(),
                Role::Param => params.next(),
                _ => None,
            };
            (operand.slot, self.filled(device, operand, made))
        };
        let mut buffers: Vec<(Slot, Buffer)> = self.operands.iter().map(make).collect();
        for &slot in self.program.outputs() {
            let expected = &self.expected[slot];
            buffers.push((slot, device.zeros(expected.rows, expected.cols)));
        }
        let exec: Exec = device.compile_untried(&self.program, self.cursor.tokens, true);
        let given: Vec<(Slot, &Buffer)> = buffers.iter().map(|(slot, b)| (*slot, b)).collect();
        device.run(&exec, &exec.bind(&given), self.cursor);
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
    fn filled(&self, device: &Device, operand: &Operand, made: Option<Buffer>) -> Buffer {
        let (desc, tensor) = (self.program.desc(operand.slot), &operand.tensor);
        let shape = (tensor.rows, tensor.cols);
        let floats = || tensor.data.iter().map(|&value| value as f32).collect::<Vec<_>>();
        match (desc.role, desc.element) {
            (_, Element::Id) => {
                let ids: Vec<u32> = tensor.data.iter().map(|&id| id as u32).collect();
                let buffer = device.ids(shape.0);
                device.write_ids(&buffer, 0, &ids);
                buffer
            }
            (Role::State, Element::Value(quant)) => {
                let buffer = device.state(shape.0, shape.1, quant);
                device.write(&buffer, 0, &floats());
                buffer
            }
            (Role::Weight, _) => made.expect("a buffer per weight"),
            _ => {
                let buffer = made.unwrap_or_else(|| device.zeros(shape.0, shape.1));
                device.write(&buffer, 0, &floats());
                buffer
            }
        }
    }

    /// The largest difference in what the program writes, relative to the largest value.
    fn off_by(&self, device: &Device, buffers: &[(Slot, Buffer)]) -> f64 {
        let is_state = |slot: Slot| self.program.desc(slot).role == Role::State;
        let is_output = |slot: Slot| self.program.outputs().contains(&slot);
        let written = buffers.iter().filter(|(slot, _)| is_state(*slot) || is_output(*slot));
        let of = |(slot, buffer): &(Slot, Buffer)| {
            let expected = &self.expected[*slot];
            let mut got = vec![0.0_f32; expected.data.len()];
            device.read(buffer, 0, &mut got);
            let most = expected.data.iter().fold(1e-3_f64, |most, value| most.max(value.abs()));
            let pairs = got.iter().zip(&expected.data);
            let off = pairs.map(|(&got, expected)| (f64::from(got) - expected).abs() / most);
            // A comparison with what is no number is lost in `max`.
            off.fold(0.0, |most, off| if off.is_nan() { f64::INFINITY } else { off.max(most) })
        };
        written.map(of).fold(0.0, f64::max)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In -1..1, exact in f16.
    fn value(&mut self) -> f32 {
        (self.next() >> 53) as f32 / 1024.0 - 1.0
    }

    /// What a slot is given, and of a weight its blocks.
    fn operand(&mut self, desc: &Desc, tokens: usize) -> (Vec<u8>, Tensor<f64>) {
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
                _ => (self.next() % WORDS as u64) as f64,
            }),
            (Role::Weight, Element::Value(quant)) => {
                let blocks = rows * desc.cols / quant.block_len();
                let bytes: Vec<u8> = (0..blocks).flat_map(|_| self.block(quant)).collect();
                let mut values = vec![0.0; rows * desc.cols];
                quant.dequantize(&bytes, &mut values);
                let data = values.into_iter().map(f64::from).collect();
                (bytes, Tensor { rows, cols: desc.cols, data })
            }
            _ => make(&mut |_| self.value().into()),
        }
    }

    /// Random bits under sound scales.
    fn block(&mut self, quant: Quant) -> Vec<u8> {
        let mut block: Vec<u8> = (0..quant.block_bytes()).map(|_| self.next() as u8).collect();
        let (scales, size): (&[usize], f32) = match quant {
            Quant::F32 => return self.value().to_le_bytes().to_vec(),
            Quant::BF16 => return half::bf16::from_f32(self.value()).to_le_bytes().to_vec(),
            Quant::F16 => (&[0], 1.0),
            Quant::Q4_0 | Quant::Q5_0 => (&[0], 0.1),
            Quant::Q8_0 => (&[0], 0.01),
            Quant::Q4_1 | Quant::Q5_1 => (&[0, 2], 0.1),
            Quant::Q4_K | Quant::Q5_K => (&[0, 2], 2e-3),
            Quant::Q6_K => (&[208], 2e-4),
        };
        for &at in scales {
            let scale = f16::from_f32(size * self.value());
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        block
    }
}
