//! Share of the memory's bandwidth (few tokens) and of the arithmetic peak (many) that the linear
//! kernels reach, per block type and instruction set.
//!
//! `cargo bench -p sapwood-kernels --bench linear [-- threads [name…]]`. Both limits are measured
//! in the same run and in turn with the kernels, best of several: on a busy machine only the
//! shares mean something. Time is the time that the threads were on a processor, where the system
//! tells it (Linux), divided by their number.

use sapwood_kernels::Quant;
use sapwood_kernels::cpu::gemm::Engine;
use sapwood_kernels::cpu::isa::Isa;
use sapwood_kernels::cpu::linear::{
    Output, linear, linear_floats, linear_grad, linear_grad_floats,
};
use sapwood_kernels::cpu::pool::Pool;
use sapwood_kernels::cpu::simd::{Kernel, Simd};
use sapwood_kernels::cpu::weight::Weight;
use std::hint::black_box;
use std::time::Instant;

/// More than any cache.
const STREAM_BYTES: usize = 192 << 20;
/// O and I of a weight: the feed-forward of a half-billion model, I rounded to whole K-blocks.
const SHAPE: (usize, usize) = (4864, 1024);
const ROUNDS: usize = 5;
/// Times that the stream is read: long enough for the system's clock of processor time.
const PASSES: usize = 6;

/// Reads bytes in four streams.
struct Read<'a>(&'a [u8]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let quarter = self.0.len() / 4 / 256 * 256;
        let mut most = [s.zero(); 4];
        let step = 4 * S::LANES;
        for at in (0..quarter).step_by(4 * step) {
            for (stream, most) in most.iter_mut().enumerate() {
                for i in 0..4 {
                    let bytes = &self.0[stream * quarter + at + i * step..][..step];
                    *most = s.max(*most, s.load_f32_bytes(bytes));
                }
            }
        }
        most.into_iter().map(|most| s.max_lane(most)).sum()
    }
}

/// Multiply-adds on registers alone; returns their number.
struct Arithmetic;

impl Kernel for Arithmetic {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        const TURNS: usize = 10_000_000;
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
        let mut sums = [s.zero(); 12];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        black_box(sums.into_iter().map(|sum| s.sum(sum)).sum::<f32>());
        (2 * TURNS * sums.len() * S::LANES) as f64
    }
}

/// Nanoseconds that this process's threads have been on a processor; `None` if unknown.
fn busy_ns() -> Option<u64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let busy = threads.flatten().map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    busy.sum()
}

/// Bytes that are finite weights in every type: small f16 scales, whatever their place.
fn weights(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // No byte of an f16 has all exponent bits set.
        state.to_le_bytes().map(|byte| byte & 0b1010_1111)
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).collect()
}

struct Bench<'a> {
    engine: Engine<'a>,
    bytes: &'a [u8],
}

impl Bench<'_> {
    fn seconds(&self, body: impl FnOnce()) -> f64 {
        let (start, busy) = (Instant::now(), busy_ns());
        body();
        match (busy, busy_ns()) {
            (Some(before), Some(after)) => {
                (after - before) as f64 * 1e-9 / self.engine.pool.threads() as f64
            }
            _ => start.elapsed().as_secs_f64(),
        }
    }

    fn read(&self) -> f64 {
        let seconds = self.seconds(|| {
            for _ in 0..PASSES {
                self.engine.pool.run(|worker| {
                    let range = worker.range(self.bytes.len(), 4096);
                    black_box(self.engine.isa.dispatch(Read(&self.bytes[range])));
                });
            }
        });
        (PASSES * self.bytes.len()) as f64 / seconds
    }

    fn arithmetic(&self) -> f64 {
        let total = std::sync::Mutex::new(0.0);
        let seconds = self.seconds(|| {
            self.engine.pool.run(|_| {
                let flops = self.engine.isa.dispatch(Arithmetic);
                *total.lock().expect("no panic inside") += flops;
            });
        });
        total.into_inner().expect("no panic inside") / seconds
    }

    fn weight(&self, quant: Quant, number: usize) -> Weight<'_> {
        let (rows, cols) = SHAPE;
        let bytes = quant.row_bytes(cols).expect("whole blocks") * rows;
        let start = number * bytes % (self.bytes.len() - bytes);
        Weight { quant, rows, cols, bytes: &self.bytes[start..][..bytes] }
    }

    /// Bytes a second of as many weights as fill the stream.
    fn decode(&self, quant: Quant, tokens: usize) -> f64 {
        let (rows, cols) = SHAPE;
        let threads = self.engine.pool.threads();
        let (x, mut y) = (vec![0.5; tokens * cols], vec![0.0; tokens * rows]);
        let mut scratch = vec![0.0; linear_floats(threads, tokens, cols, 0)];
        let each = self.weight(quant, 0).bytes.len();
        let count = self.bytes.len() / each;
        let seconds = self.seconds(|| {
            for number in 0..PASSES * count {
                let weight = self.weight(quant, number % count);
                let output = Output { weight, bias: None, lora: None, y: &mut y };
                linear(self.engine, &x, &mut [output], &mut scratch);
            }
        });
        (PASSES * count * each) as f64 / seconds
    }

    /// Floating-point operations a second, forward and backward.
    fn prefill(&self, quant: Quant, tokens: usize) -> (f64, f64) {
        let (rows, cols) = SHAPE;
        let threads = self.engine.pool.threads();
        let (mut x, mut y) = (vec![0.5; tokens * cols], vec![0.0; tokens * rows]);
        let floats = linear_floats(threads, tokens, cols, 0);
        let mut scratch = vec![0.0; floats.max(linear_grad_floats(threads, tokens, 0))];
        let flops = (2 * tokens * rows * cols) as f64;
        // Long enough for the clock.
        let turns = 1024_usize.div_ceil(tokens);
        let forward = self.seconds(|| {
            for number in 0..turns {
                let weight = self.weight(quant, number);
                let output = Output { weight, bias: None, lora: None, y: &mut y };
                linear(self.engine, &x, &mut [output], &mut scratch);
            }
        });
        let backward = self.seconds(|| {
            for number in 0..turns {
                let weight = self.weight(quant, number);
                linear_grad(self.engine, &y, weight, None, &mut x, &mut scratch);
            }
        });
        (turns as f64 * flops / forward, turns as f64 * flops / backward)
    }
}

/// The best of some rounds, of a figure and of its limit in turn.
fn best(figures: &[&dyn Fn() -> f64]) -> Vec<f64> {
    let mut best = vec![0.0_f64; figures.len()];
    for _ in 0..ROUNDS {
        for (best, figure) in best.iter_mut().zip(figures) {
            *best = best.max(figure());
        }
    }
    best
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(cores);
    let names: Vec<String> = arguments.collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let pool = Pool::new(threads);
    let bytes = weights(STREAM_BYTES);
    let isas = Isa::available().into_iter().filter(|isa| names.is_empty() || wanted(isa.name()));
    for isa in isas {
        let bench = Bench { engine: Engine { pool: &pool, isa }, bytes: &bytes };
        println!("{} × {threads}: share of the limit, (O, I) = {SHAPE:?}", isa.name());
        println!(
            "type   decode 1        decode 4 (per byte)  forward 32         forward 512        backward 512"
        );
        for quant in Quant::ALL {
            if names.iter().any(|name| Quant::ALL.iter().any(|quant| quant.name() == name))
                && !wanted(quant.name())
            {
                continue;
            }
            let figures = best(&[
                &|| bench.read(),
                &|| bench.decode(quant, 1),
                &|| bench.decode(quant, 4),
                &|| bench.arithmetic(),
                &|| bench.prefill(quant, 32).0,
                &|| bench.prefill(quant, 512).0,
                &|| bench.prefill(quant, 512).1,
            ]);
            let [read, one, four, peak, short, forward, backward] = figures[..] else { continue };
            println!(
                "{:5} {:5.1} GB/s {:4.0}%  {:5.1} GB/s {:4.0}%  {:6.1} GFLOP/s {:4.0}%  \
                 {:6.1} GFLOP/s {:4.0}%  {:6.1} GFLOP/s {:4.0}%",
                quant.name(),
                one / 1e9,
                100.0 * one / read,
                four / 1e9,
                100.0 * four / read,
                short / 1e9,
                100.0 * short / peak,
                forward / 1e9,
                100.0 * forward / peak,
                backward / 1e9,
                100.0 * backward / peak,
            );
        }
    }
}
