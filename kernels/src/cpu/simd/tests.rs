//! Every operation of every instruction set present, against plain arithmetic.

use super::math;
use super::*;
use crate::cpu::isa::Isa;

/// Values of both signs over the magnitudes that the kernels see.
fn sample(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.37).collect()
}

struct Lanewise;

impl Kernel for Lanewise {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (xs, ys) = (sample(S::LANES), sample(2 * S::LANES));
        let ys = &ys[S::LANES..];
        let (a, b) = (s.load(&xs), s.load(ys));
        let check = |name: &str, vector: S::F32, expected: &dyn Fn(f32, f32) -> f32| {
            let mut out = vec![0.0; S::LANES];
            s.store(vector, &mut out);
            for i in 0..S::LANES {
                let e = expected(xs[i], ys[i]);
                assert!((out[i] - e).abs() <= 1e-6 * e.abs(), "{name} lane {i}: {} {e}", out[i]);
            }
        };
        check("add", s.add(a, b), &|x, y| x + y);
        check("sub", s.sub(a, b), &|x, y| x - y);
        check("mul", s.mul(a, b), &|x, y| x * y);
        check("div", s.div(a, s.splat(3.0)), &|x, _| x / 3.0);
        check("fma", s.fma(a, a, s.splat(5.0)), &|x, _| x * x + 5.0);
        check("max", s.max(a, b), &f32::max);
        check("min", s.min(a, b), &f32::min);
        check("sqrt", s.sqrt(s.mul(a, a)), &|x, _| x.abs());
        check("round", s.round(a), &|x, _| x.round_ties_even());
        check("select_lt", s.select_lt(a, b, b, a), &f32::max);
        check("exp2_int", s.exp2_int(s.round(a)), &|x, _| x.round_ties_even().exp2());
        let sum: f32 = xs.iter().sum();
        assert!((s.sum(a) - sum).abs() <= 1e-4);
        assert_eq!(s.max_lane(a), xs.iter().copied().fold(f32::MIN, f32::max));
        let (lanes, strides) = (S::LANES, (S::LANES + 3, S::LANES + 5));
        let square = sample(lanes * strides.0);
        let mut turned = vec![0.0; lanes * strides.1];
        s.transpose(&square, strides.0, &mut turned, strides.1);
        for (r, c) in (0..lanes * lanes).map(|i| (i / lanes, i % lanes)) {
            assert_eq!(turned[c * strides.1 + r], square[r * strides.0 + c], "row {r} column {c}");
        }
        for count in 0..=S::LANES {
            let mut out = vec![-1.0; S::LANES];
            s.store(s.load_part(&xs[..count]), &mut out);
            assert_eq!(out[..count], xs[..count]);
            assert!(out[count..].iter().all(|&x| x == 0.0));
            let mut out = vec![-1.0; S::LANES];
            s.store_part(a, &mut out[..count]);
            assert_eq!(out[..count], xs[..count]);
            assert!(out[count..].iter().all(|&x| x == -1.0));
        }
    }
}

struct Halves;

impl Kernel for Halves {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut values = vec![0.0; S::LANES];
        for bits in all.chunks(S::LANES) {
            s.store(s.load_f16(bits), &mut values);
            for (value, expected) in values.iter().zip(bits) {
                assert_eq!(value.is_nan(), expected.is_nan());
                if !value.is_nan() {
                    assert_eq!(value.to_bits(), expected.to_f32().to_bits());
                }
            }
        }
    }
}

struct Functions;

impl Kernel for Functions {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut out = vec![0.0; S::LANES];
        let mut x = -87.0_f32;
        while x < 88.0 {
            s.store(math::exp(s, s.splat(x)), &mut out);
            let expected = f64::from(x).exp();
            let error = (f64::from(out[0]) - expected).abs() / expected;
            assert!(error < 2.4e-7, "exp {x}: relative error {error:e}");
            s.store(math::tanh(s, s.splat(x)), &mut out);
            assert!((f64::from(out[0]) - f64::from(x).tanh()).abs() < 3e-7, "tanh {x}");
            s.store(math::sigmoid(s, s.splat(x)), &mut out);
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(out[0]) - expected).abs() < 3e-7, "sigmoid {x}");
            x += 0.0137;
        }
        for (x, expected) in [(-1000.0, 0.0), (f32::NEG_INFINITY, 0.0), (0.0, 1.0)] {
            s.store(math::exp(s, s.splat(x)), &mut out);
            assert_eq!(out[0], expected, "exp {x}");
        }
        for count in [0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 200] {
            let (a, b) = (sample(count), sample(count + 1)[1..].to_vec());
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let scale: f64 = a.iter().zip(&b).map(|(a, b)| f64::from((a * b).abs())).sum();
            let error = (f64::from(math::dot(s, &a, &b)) - expected).abs();
            assert!(error <= 1e-6 * scale, "dot {count}: {error:e}");
            let mut y = b.clone();
            math::axpy(s, 0.5, &a, &mut y);
            for i in 0..count {
                assert!((y[i] - (b[i] + 0.5 * a[i])).abs() <= 1e-5, "axpy {count} at {i}");
            }
        }
    }
}

#[test]
fn lanewise() {
    Isa::available().into_iter().for_each(|isa| isa.dispatch(Lanewise));
}

#[test]
fn halves_are_exact() {
    Isa::available().into_iter().for_each(|isa| isa.dispatch(Halves));
}

#[test]
fn functions_are_near() {
    Isa::available().into_iter().for_each(|isa| isa.dispatch(Functions));
}
