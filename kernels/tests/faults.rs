//! What a GPU does when it fails: it says so with a typed error, and gives no wrong numbers.

#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::*;
use sapwood_kernels::*;

/// A device of its own: it will fail.
fn open() -> Option<Device> {
    gpu()?;
    Some(Device::gpu(&gpu_choice()).unwrap())
}

fn lose(device: &Device) {
    let Device::Gpu(gpu) = device else { unreachable!("opened as one") };
    gpu.lose();
}

/// A block, compiled and bound.
struct Work {
    program: Program,
    exec: Exec,
    buffers: Vec<(Slot, Buffer)>,
}

impl Work {
    const TOKENS: usize = 6;

    fn new(device: &Device) -> Work {
        let kind = BlockKind { lora: true, ..BlockKind::default() };
        let Block { mut program, x, y, params } = block(kind, Quant::Q4_0, [2, 1, 16], 32);
        let seed = program.input("seed", 32);
        let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
        program.grad(y, seed, &wrt).into_iter().for_each(|slot| program.output(slot));
        let operands = operands(&program, Self::TOKENS, 0, 1, 2);
        let exec = device.compile(&program, Self::TOKENS);
        let buffers = buffers(device, &program, &operands, Self::TOKENS);
        Work { program, exec, buffers }
    }

    /// Once forward and backward.
    fn run(&self, device: &Device) -> Vec<f32> {
        let cursor = Cursor { pos: 0, tokens: Self::TOKENS };
        device.run(&self.exec, &bind(&self.exec, &self.buffers), cursor);
        let outputs = self.program.outputs().iter();
        outputs.flat_map(|&slot| read(device, &self.buffers, slot, 1)).collect()
    }
}

#[test]
fn a_lost_device_says_so_and_does_nothing() {
    let Some(device) = open() else { return };
    let work = Work::new(&device);
    work.run(&device);
    assert_eq!(device.fault(), None);
    lose(&device);
    // Whatever is asked of it then.
    assert!(work.run(&device).iter().all(|&value| value == 0.0));
    Work::new(&device);
    device.write(&device.zeros(2, 2), 0, &[1.0; 4]);
    assert!(matches!(device.fault(), Some(DeviceError::Lost { .. })));
}

#[test]
fn a_choice_that_was_not_read_is_lost_with_its_device() {
    let Some(device) = open() else { return };
    let (logits, ids) = (device.values(1, 3, &[1.0, 3.0, 2.0]), device.ids(1));
    let choose = || device.argmax_into(&logits, 0, &ids, 0);
    let chosen = [choose(), choose(), choose()];
    let mut read = chosen.into_iter().map(Chosen::wait);
    assert_eq!(read.next(), Some((1, 3.0)));
    lose(&device);
    assert_eq!(read.next(), Some((0, 0.0)));
    assert!(matches!(device.fault(), Some(DeviceError::Lost { .. })));
    assert_eq!(choose().wait(), (0, 0.0));
}

/// At any moment: what was read before is right, and what comes after is known to be nothing.
#[test]
fn a_device_lost_at_work_gives_no_wrong_numbers() {
    if gpu().is_none() {
        return;
    }
    for delay_us in [0, 300, 1_000, 3_000, 10_000] {
        let device = open().unwrap();
        let work = Work::new(&device);
        let expected = work.run(&device);
        assert_eq!(device.fault(), None);
        let (done, runs) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (device, work) = (&device, &work);
            scope.spawn(move || {
                loop {
                    let got = work.run(device);
                    if device.fault().is_some() {
                        return;
                    }
                    assert_eq!(got, expected);
                    // Nobody listens any more once the device is lost.
                    let _ = done.send(());
                }
            });
            // In the middle of the third run, or of one after it.
            runs.iter().take(2).for_each(drop);
            std::thread::sleep(Duration::from_micros(delay_us));
            lose(device);
        });
        assert!(matches!(device.fault(), Some(DeviceError::Lost { .. })), "{:?}", device.fault());
    }
}

#[test]
fn what_does_not_fit_is_a_fault_and_not_a_crash() {
    if gpu().is_none() {
        return;
    }
    let choice = GpuChoice { page_bytes: Some(64 << 10), ..gpu_choice() };
    let device = Device::gpu(&choice).unwrap();
    let large = device.zeros(1 << 10, 1 << 10);
    assert_eq!(device.fault(), Some(DeviceError::OutOfMemory));
    let mut values = [1.0];
    device.read(&large, 0, &mut values);
    assert_eq!(values, [1.0], "nothing is read");
}

/// The driver has no more: in a process whose memory is limited, so that no other suffers.
#[cfg(unix)]
#[test]
fn memory_that_the_driver_does_not_give_is_a_fault() {
    const CHILD: &str = "SAPWOOD_TEST_CHILD";
    if gpu().is_none() || gpu_choice().backend.as_deref() == Some("gl") {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        return fill_up();
    }
    let name = "memory_that_the_driver_does_not_give_is_a_fault";
    let script = format!("ulimit -v 8000000 && exec \"$0\" --exact {name}");
    let test = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new("sh");
    let output = child.args(["-c", &script]).arg(test).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[cfg(unix)]
fn fill_up() {
    let device = open().unwrap();
    let mut held = Vec::new();
    while device.fault().is_none() && held.len() < 200 {
        held.push(device.zeros(16 << 10, 1 << 10));
    }
    assert_eq!(device.fault(), Some(DeviceError::OutOfMemory), "{} times 64 MiB", held.len());
    let mut values = [1.0];
    device.read(&held[0], 0, &mut values);
    assert_eq!(values, [1.0], "nothing is read");
}

#[test]
fn no_adapter_is_an_error_that_says_what_was_found() {
    let choice = GpuChoice { backend: Some("none".into()), ..GpuChoice::default() };
    let Err(DeviceError::NoAdapter { found }) = Device::gpu(&choice) else {
        panic!("there is no such back end");
    };
    assert!(found.contains("vulkan"), "{found}");
}

/// What emulates one is no GPU, unless it is asked for.
#[test]
fn an_emulated_adapter_is_refused_with_its_reason() {
    if !gpu().is_some_and(|device| device.describe().contains("emulated")) {
        return;
    }
    let choice = GpuChoice { software: false, ..gpu_choice() };
    let Err(DeviceError::NoAdapter { found }) = Device::gpu(&choice) else {
        panic!("it was taken");
    };
    assert!(found.contains("emulated by the processor"), "{found}");
}
