//! The three products of plain matrices, against f64.

use super::*;

/// Values without a pattern that an error could follow.
fn sample(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0).collect()
}

#[test]
fn products_match_the_definition() {
    let sizes = [1, 2, 7, 8, 16, 17, 31, 33, 130];
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let engine = Engine { pool: &pool, isa };
            for (i, &m) in sizes.iter().enumerate() {
                for (j, &n) in sizes.iter().enumerate() {
                    for k in [sizes[(i + j) % sizes.len()], 0, 600] {
                        check(engine, [m, n, k]);
                    }
                }
            }
        }
    }
}

fn check(engine: Engine<'_>, [m, n, k]: [usize; 3]) {
    let (a, b) = (sample(m * k, 1), sample(k * n, 2));
    let transpose = |data: &[f32], rows: usize, cols: usize| -> Vec<f32> {
        (0..rows * cols).map(|i| data[i % rows * cols + i / rows]).collect()
    };
    let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
    let mut scratch = vec![f32::NAN; gemm_floats(engine.pool.threads(), m)];
    let mut results = [(); 3].map(|()| vec![f32::NAN; m * n]);
    let [c_nn, c_nt, c_tn] = &mut results;
    nn(engine, [m, n, k], 0.5, &a, &b, c_nn, &mut scratch);
    nt(engine, [m, n, k], 0.5, &a, &bt, c_nt, &mut scratch);
    tn(engine, [m, n, k], 0.5, &at, &b, c_tn, &mut scratch);
    assert!(results[0] == results[1] && results[0] == results[2], "{m} × {n} × {k}");
    for row in 0..m {
        for col in 0..n {
            let terms = (0..k).map(|l| f64::from(a[row * k + l]) * f64::from(b[l * n + col]));
            let expected = 0.5 * terms.sum::<f64>();
            let error = (f64::from(results[0][row * n + col]) - expected).abs();
            assert!(error <= 1e-5 * (k as f64).sqrt(), "{m} × {n} × {k} at {row}, {col}");
        }
    }
}
