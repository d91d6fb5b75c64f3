//! Every instruction set × block type × interesting size against f64 arithmetic on the
//! dequantized weights.

use super::*;
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use crate::quant::Quant;

/// A small generator (xorshift) of values in -1..1 and of bytes.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// Blocks of random bits under small, positive and negative, scales.
    pub(crate) fn weight(&mut self, quant: Quant, rows: usize, cols: usize) -> Vec<u8> {
        if !dot::is_integer(quant) {
            let mut bytes = Vec::new();
            quant.quantize(&self.values(rows * cols), &mut bytes);
            return bytes;
        }
        let mut bytes: Vec<u8> = Vec::new();
        bytes.resize_with(rows * quant.row_bytes(cols).unwrap(), || self.next() as u8);
        let (first, second) = match quant {
            Quant::Q6_K => (208, None),
            Quant::Q4_1 | Quant::Q5_1 | Quant::Q4_K | Quant::Q5_K => (0, Some(2)),
            _ => (0, None),
        };
        for block in bytes.chunks_exact_mut(quant.block_bytes()) {
            for at in [Some(first), second].into_iter().flatten() {
                let scale = half::f16::from_f32(self.values(1)[0] * 0.02);
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        bytes
    }
}

/// Σₖ a[i][k] b[k][j] in f64.
fn product(a: &[f32], b: impl Fn(usize, usize) -> f32, [m, n, k]: [usize; 3]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += f64::from(a[i * k + l]) * f64::from(b(l, j));
            }
        }
    }
    c
}

/// Root mean square error over root mean square.
fn relative(values: &[f32], expected: &[f64]) -> f64 {
    let error: f64 = values.iter().zip(expected).map(|(v, e)| (f64::from(*v) - e).powi(2)).sum();
    let size: f64 = expected.iter().map(|e| e * e).sum();
    assert!(error.is_finite(), "not a number");
    if error == 0.0 { 0.0 } else { (error / size).sqrt() }
}

/// What each path may err, relative. Rounding activations to int8 errs by 1/254 of the largest of
/// 32 at most, uniformly: about 0.4% of the root mean square of uniform activations; twice that,
/// because weights with minima cancel.
const INT8: f64 = 8e-3;
/// f32 sums of some thousand terms.
const FLOAT: f64 = 2e-6;

/// Sizes around the tiles of every instruction set, odd ones, and real ones. K-quants have rows
/// of whole blocks.
fn shapes(quant: Quant) -> Vec<(usize, usize)> {
    match quant.block_len() {
        256 => vec![(1, 256), (7, 512), (33, 256), (128, 768), (130, 1024)],
        32 => vec![(1, 32), (5, 64), (16, 32), (17, 96), (31, 288), (130, 576), (64, 896)],
        _ => vec![(1, 1), (3, 5), (15, 31), (17, 33), (32, 32), (172, 64), (64, 172), (130, 576)],
    }
}

#[derive(Clone)]
struct Case {
    quant: Quant,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Case {
    fn all() -> impl Iterator<Item = Case> {
        let shapes = |quant| shapes(quant).into_iter().map(move |shape| (quant, shape));
        Quant::ALL.into_iter().flat_map(shapes).map(|(quant, (rows, cols))| {
            let bytes = Random::new(7 + rows as u64).weight(quant, rows, cols);
            let mut values = vec![0.0; rows * cols];
            quant.dequantize(&bytes, &mut values);
            // Shifted by a byte: files promise no alignment.
            let bytes = [&[0], &bytes[..]].concat();
            Case { quant, rows, cols, bytes, values }
        })
    }

    fn weight(&self) -> Weight<'_> {
        Weight { quant: self.quant, rows: self.rows, cols: self.cols, bytes: &self.bytes[1..] }
    }
}

fn each_engine(mut body: impl FnMut(Engine<'_>)) {
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            body(Engine { pool: &pool, isa });
        }
    }
}

fn run(engine: Engine<'_>, x: &[f32], outputs: &mut [Output<'_>]) {
    let cols = outputs[0].weight.cols;
    let ranks = outputs.iter().map(|o| o.lora.map_or(0, |pair| pair.rank)).sum();
    let floats = linear_floats(engine.pool.threads(), x.len() / cols, cols, ranks);
    // What scratch holds must not matter.
    linear(engine, x, outputs, &mut vec![f32::NAN; floats]);
}

#[test]
fn linear_matches_the_definition() {
    for case in Case::all() {
        let (out, cols) = (case.rows, case.cols);
        for tokens in [1, 2, 8, 9, 33] {
            let x = Random::new(3).values(tokens * cols);
            let bias = Random::new(5).values(out);
            let mut expected = product(&x, |k, o| case.values[o * cols + k], [tokens, out, cols]);
            for (y, bias) in expected.iter_mut().zip(bias.iter().cycle()) {
                *y += f64::from(*bias);
            }
            each_engine(|engine| {
                let mut y = vec![f32::NAN; tokens * out];
                let (weight, bias) = (case.weight(), Some(&bias[..]));
                run(engine, &x, &mut [Output { weight, bias, lora: None, y: &mut y }]);
                let integer =
                    dot::is_integer(case.quant) && (tokens <= FEW || engine.isa.has_int8());
                let error = relative(&y, &expected);
                let name = (engine.isa.name(), case.quant, tokens, out, cols);
                assert!(error <= if integer { INT8 } else { FLOAT }, "{name:?}: {error:e}");
            });
        }
    }
}

/// The int8 path against itself in f64: with activations that int8 holds exactly, only f32
/// rounding is left, for every type and instruction set.
#[test]
fn integer_products_are_exact_for_exact_activations() {
    let cases = || Case::all().filter(|case| dot::is_integer(case.quant));
    for (case, tokens) in cases().flat_map(|case| [1, 23].map(|tokens| (case.clone(), tokens))) {
        let (out, cols) = (case.rows, case.cols);
        let mut x = Random::new(9).values(tokens * cols);
        for (i, x) in x.iter_mut().enumerate() {
            *x = if i % 32 == 3 { 127.0 } else { (*x * 127.0).round() };
        }
        let expected = product(&x, |k, o| case.values[o * cols + k], [tokens, out, cols]);
        each_engine(|engine| {
            let mut y = vec![f32::NAN; tokens * out];
            let weight = case.weight();
            run(engine, &x, &mut [Output { weight, bias: None, lora: None, y: &mut y }]);
            let error = relative(&y, &expected);
            let name = (engine.isa.name(), case.quant, tokens, out, cols);
            assert!(error <= FLOAT, "{name:?}: {error:e}");
        });
    }
}

#[test]
fn outputs_share_an_input_and_have_their_pairs() {
    let (cols, rank) = (256, 5);
    let sizes = [(Quant::Q4_K, 48, true), (Quant::Q6_K, 20, false), (Quant::F16, 7, true)];
    for tokens in [1, 5, 40] {
        let x = Random::new(1).values(tokens * cols);
        let mut made = Vec::new();
        for (i, (quant, rows, _)) in sizes.into_iter().enumerate() {
            let mut random = Random::new(i as u64 + 1);
            let bytes = random.weight(quant, rows, cols);
            let mut values = vec![0.0; rows * cols];
            quant.dequantize(&bytes, &mut values);
            made.push((bytes, values, random.values(rank * cols), random.values(rows * rank)));
        }
        each_engine(|engine| {
            let mut results: Vec<Vec<f32>> =
                sizes.iter().map(|(_, rows, _)| vec![f32::NAN; tokens * rows]).collect();
            let mut outputs: Vec<Output<'_>> = Vec::new();
            for ((y, made), (quant, rows, paired)) in results.iter_mut().zip(&made).zip(sizes) {
                let weight = Weight { quant, rows, cols, bytes: &made.0 };
                let pair = LoraPair { a: &made.2, b: &made.3, rank, scale: 0.25 };
                outputs.push(Output { weight, bias: None, lora: paired.then_some(pair), y });
            }
            run(engine, &x, &mut outputs);
            for ((y, made), (quant, rows, paired)) in results.iter().zip(&made).zip(sizes) {
                let scale = if paired { 0.25 } else { 0.0 };
                let merged = |k: usize, o: usize| {
                    let delta: f32 =
                        (0..rank).map(|r| made.3[o * rank + r] * made.2[r * cols + k]).sum();
                    made.1[o * cols + k] + scale * delta
                };
                let error = relative(y, &product(&x, merged, [tokens, rows, cols]));
                assert!(error <= INT8, "{} {quant:?} {tokens}: {error:e}", engine.isa.name());
            }
        });
    }
}

#[test]
fn linear_grad_matches_the_definition() {
    for case in Case::all() {
        let (out, cols, rank) = (case.rows, case.cols, 3);
        let mut random = Random::new(11);
        let (a, b) = (random.values(rank * cols), random.values(out * rank));
        for tokens in [1, 9, 33] {
            let dy = random.values(tokens * out);
            for lora in [None, Some(LoraPair { a: &a, b: &b, rank, scale: 0.5 })] {
                let scale = lora.map_or(0.0, |pair| pair.scale);
                let merged = |o: usize, i: usize| {
                    let delta: f32 = (0..rank).map(|r| b[o * rank + r] * a[r * cols + i]).sum();
                    case.values[o * cols + i] + scale * delta
                };
                let expected = product(&dy, merged, [tokens, cols, out]);
                each_engine(|engine| {
                    let mut dx = vec![f32::NAN; tokens * cols];
                    let floats = linear_grad_floats(engine.pool.threads(), tokens, rank);
                    let scratch = &mut vec![f32::NAN; floats];
                    linear_grad(engine, &dy, case.weight(), lora, &mut dx, scratch);
                    let error = relative(&dx, &expected);
                    let name = (engine.isa.name(), case.quant, tokens, out, cols);
                    assert!(error <= FLOAT, "{name:?}: {error:e}");
                });
            }
        }
    }
}

/// Values of panels are the definition's, bit for bit, on every instruction set.
#[test]
fn panels_hold_the_defined_values() {
    for case in Case::all() {
        let starts = [0, case.cols / 2 / dot::RUN * dot::RUN];
        for cols in starts.map(|start| start..case.cols) {
            for isa in Isa::available() {
                let mut to = vec![f32::NAN; cols.len()];
                let (quant, weight) = (case.quant, case.weight());
                let (row, to) = (weight.row(0), &mut to[..]);
                isa.dispatch(dot::Dequantize { quant, row, cols: cols.clone(), to });
                let bits = |values: &[f32]| -> Vec<u32> {
                    // A zero's sign may differ: 0 × -1 against 0 - 0.
                    values.iter().map(|v| (v + 0.0).to_bits()).collect()
                };
                let expected = bits(&case.values[cols.clone()]);
                assert_eq!(bits(to), expected, "{} {:?}", isa.name(), case.quant);
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    for quant in [Quant::Q4_0, Quant::Q6_K, Quant::F32] {
        let (out, cols) = (200, 512);
        let bytes = Random::new(2).weight(quant, out, cols);
        let weight = Weight { quant, rows: out, cols, bytes: &bytes };
        for tokens in [1, 7, 30] {
            let x = Random::new(4).values(tokens * cols);
            for isa in Isa::available() {
                let results = [1, 2, 5].map(|threads| {
                    let pool = Pool::new(threads);
                    let mut y = vec![f32::NAN; tokens * out];
                    let output = Output { weight, bias: None, lora: None, y: &mut y };
                    run(Engine { pool: &pool, isa }, &x, &mut [output]);
                    y
                });
                assert!(results[0] == results[1] && results[0] == results[2], "{quant:?}");
            }
        }
    }
}
