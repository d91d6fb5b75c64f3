//! What goes in and out of buffers, on every device.

mod common;

use common::*;
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
fn rows_are_copied_between_buffers_and_within_one() {
    for device in devices() {
        let numbers: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let (from, to) = (device.values(5, 3, &numbers), device.zeros(4, 3));
        device.copy(&from, 1, &to, 2, 2);
        let expected = [&[0.0; 6], &numbers[3..9]].concat();
        assert_eq!(values(&device, &to), expected, "{}", device.describe());
        // Rows 0 to 3 to rows 1 to 4: each is read before it is written.
        device.copy(&from, 0, &from, 1, 4);
        assert_eq!(values(&device, &from), [&numbers[..3], &numbers[..12]].concat());
        device.copy(&from, 5, &to, 4, 0);
        assert_eq!(values(&device, &to), expected, "no rows are no copy");
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
#[should_panic(expected = "columns")]
fn rows_of_another_width_are_refused() {
    let device = Device::cpu(Some(1));
    device.copy(&device.zeros(1, 3), 0, &device.zeros(1, 2), 0, 1);
}
