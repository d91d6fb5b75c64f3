//! What goes in and out of buffers, on every device.

mod common;

use common::*;
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

fn devices() -> impl Iterator<Item = Device> {
    [Device::cpu(Some(1))].into_iter().chain(gpu())
}

fn values(device: &Device, buffer: &Buffer) -> Vec<f32> {
    let mut values = vec![0.0; buffer.rows() * buffer.cols()];
    device.read(buffer, 0, &mut values);
    values
}

#[test]
fn ids_come_back_as_they_were_written() {
    for device in devices() {
        let ids = device.ids(7);
        device.write_ids(&ids, 2, &[5, 6, u32::MAX]);
        let mut all = [9; 7];
        device.read_ids(&ids, 0, &mut all);
        assert_eq!(all, [0, 0, 5, 6, u32::MAX, 0, 0], "{}", device.describe());
        let mut one = [0];
        device.read_ids(&ids, 3, &mut one);
        assert_eq!(one, [6]);
        assert_eq!(device.fault(), None);
    }
}

#[test]
fn values_are_copied_between_buffers_and_within_one() {
    for device in devices() {
        let numbers: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let (from, to) = (device.values(5, 3, &numbers), device.zeros(12, 1));
        device.copy(&from, 4, &to, 6, 5);
        let expected = [&[0.0; 6], &numbers[4..9], &[0.0]].concat();
        assert_eq!(values(&device, &to), expected, "{}", device.describe());
        // To where they overlap: each is read before it is written.
        device.copy(&from, 0, &from, 3, 12);
        assert_eq!(values(&device, &from), [&numbers[..3], &numbers[..12]].concat());
        device.copy(&from, 15, &to, 12, 0);
        assert_eq!(values(&device, &to), expected, "no values are no copy");
        assert_eq!(device.fault(), None);
    }
}

#[test]
fn what_a_copy_replaced_is_forgotten() {
    for device in devices() {
        // Factors of rope are read by the host once, and kept.
        let mut p = Program::new();
        let x = p.input("x", 2);
        let factors = p.weight("factors", 1, 1, Quant::F32);
        let style = RopeStyle::HalfSplit;
        let (base, linear_scale) = (100.0, 1.0);
        let rope = Rope { heads: 1, dims: 2, base, linear_scale, style, inverse: false };
        let y = p.rope(x, Some(factors), rope);
        p.output(y);
        let exec = device.compile(&p, 1);
        let (one, two) = (device.values(1, 1, &[1.0]), device.values(1, 1, &[2.0]));
        let (input, out) = (device.values(1, 2, &[1.0, 0.0]), device.zeros(1, 2));
        let bindings = exec.bind(&[(x, &input), (factors, &one), (y, &out)]);
        for angle in [1.0_f32, 0.5] {
            device.run(&exec, &bindings, Cursor { pos: 1, tokens: 1 });
            let turned = values(&device, &out);
            assert!((turned[0] - angle.cos()).abs() < 1e-6, "{turned:?}");
            device.copy(&two, 0, &one, 0, 1);
        }
    }
}

#[test]
#[should_panic(expected = "do not fit")]
fn what_is_outside_is_refused() {
    let device = Device::cpu(Some(1));
    device.copy(&device.zeros(1, 3), 1, &device.zeros(1, 3), 0, 3);
}

/// As the doc orders them.
fn sorted(row: &[f32]) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
    all.sort_by(|(a, x), (b, y)| match (x.is_nan(), y.is_nan()) {
        (false, false) => y.partial_cmp(x).expect("numbers").then(a.cmp(b)),
        (x, y) => x.cmp(&y).then(a.cmp(b)),
    });
    all
}

/// Equal also where they are no numbers.
fn assert_same(got: &[(u32, f32)], expected: &[(u32, f32)], name: &str) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (got, expected) in got.iter().zip(expected) {
        let same = got.1 == expected.1 || got.1.is_nan() && expected.1.is_nan();
        assert!(got.0 == expected.0 && same, "{name}: {got:?} where {expected:?} was expected");
    }
}

#[test]
fn the_largest_logits_are_those_of_a_sort() {
    for device in devices() {
        let mut rng = SplitMix64(4);
        // Around the lanes and shards of a GPU.
        for cols in [1, 5, 256, 8191, 8192, 8193, 40_000] {
            let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -f32::NAN, 1e-45];
            let mut rows: Vec<f32> = (0..3 * cols)
                .map(|i| match i % 7 {
                    // Many are equal.
                    0..3 => (rng.below(50) as f32) - 25.0,
                    3 if i >= cols => special[rng.below(special.len())],
                    _ => (signed(&mut rng) * 100.0) as f32,
                })
                .collect();
            // A row of which nothing is a number.
            rows[2 * cols..].fill(f32::NAN);
            let logits = device.values(3, cols, &rows);
            let ids = device.ids(4);
            let mut late = Vec::new();
            for row in 0..3 {
                let expected = sorted(&rows[row * cols..(row + 1) * cols]);
                for k in [0, 1, 2, 40, 64] {
                    let name = format!("{k} of row {row} of {cols}, {}", device.describe());
                    let got = device.top(&logits, row, k);
                    assert_same(&got, &expected[..k.min(cols)], &name);
                }
                late.push((device.argmax_into(&logits, row, &ids, row + 1), expected[0]));
                let mut chosen = [9; 4];
                device.read_ids(&ids, 0, &mut chosen);
                assert_eq!((chosen[0], chosen[row + 1]), (0, expected[0].0), "row {row} of {cols}");
            }
            for (chosen, expected) in late {
                assert_same(&[chosen.wait()], &[expected], &format!("the first of {cols}"));
            }
        }
        assert_eq!(device.fault(), None);
    }
}

#[test]
fn a_token_that_was_chosen_is_embedded_without_the_host() {
    for device in devices() {
        let mut p = Program::new();
        let ids = p.ids("ids");
        let table = p.weight("table", 9, 4, Quant::F32);
        let y = p.embed(ids, table, 1.0);
        p.output(y);
        let exec = device.compile(&p, 1);
        let rows: Vec<f32> = (0..36).map(|i| i as f32).collect();
        let (weight, out) = (device.values(9, 4, &rows), device.zeros(1, 4));
        let (next, logits) = (device.ids(1), device.zeros(1, 9));
        let bindings = exec.bind(&[(ids, &next), (table, &weight), (y, &out)]);
        for token in [3, 8, 0] {
            let mut row = [0.0; 9];
            row[token] = 1.0;
            device.write(&logits, 0, &row);
            device.argmax_into(&logits, 0, &next, 0);
            device.run(&exec, &bindings, Cursor { pos: 0, tokens: 1 });
            assert_eq!(values(&device, &out), rows[4 * token..][..4]);
        }
    }
}

/// A table that says which token follows which, and nobody looks until the end.
#[test]
fn tokens_that_were_chosen_can_be_read_while_the_device_goes_on() {
    const WORDS: u32 = 11;
    let follower = |token: u32| (5 * token + 3) % WORDS;
    for device in devices() {
        let mut p = Program::new();
        let ids = p.ids("ids");
        let table = p.weight("table", WORDS as usize, WORDS as usize, Quant::F32);
        let y = p.embed(ids, table, 1.0);
        p.output(y);
        let exec = device.compile(&p, 1);
        let is = |i: u32| f32::from(u8::from(i % WORDS == follower(i / WORDS)));
        let rows: Vec<f32> = (0..WORDS * WORDS).map(is).collect();
        let weight = device.values(WORDS as usize, WORDS as usize, &rows);
        let (next, logits) = (device.ids(1), device.zeros(1, WORDS as usize));
        let bindings = exec.bind(&[(ids, &next), (table, &weight), (y, &logits)]);
        let step = || {
            device.run(&exec, &bindings, Cursor { pos: 0, tokens: 1 });
            device.argmax_into(&logits, 0, &next, 0)
        };
        // The first time the kernel is tried.
        drop(step());
        device.write_ids(&next, 0, &[1]);
        // Some that nobody reads come between.
        let chosen: Vec<_> = (0..20).map(|_| [step(), step()]).collect();
        let mut expected = 1;
        for [first, unread] in chosen {
            expected = follower(expected);
            assert_eq!(first.wait(), (expected, 1.0), "{}", device.describe());
            drop(unread);
            expected = follower(expected);
        }
        assert_eq!(device.fault(), None);
    }
}

#[test]
#[should_panic(expected = "at most 64")]
fn more_than_can_be_found_is_refused() {
    let device = Device::cpu(Some(1));
    device.top(&device.zeros(1, 100), 0, 65);
}
