//! Models on the GPU: the same logits, the same gradients, and what happens when it fails.
//!
//! Needs a GPU, or Mesa's software Vulkan: `tests/run --only gpu`.

#![cfg(feature = "gpu")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test has no API, and may panic")]

#[path = "gpu/likeliest.rs"]
mod likeliest;

use std::sync::Arc;

use sapwood::learn::train::{TrainConfig, TrainState, Trainer};
use sapwood::placement::{self, Opening, Wanted};
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Device, DeviceError, GpuChoice, Quant};
use sapwood_models::{
    Adapter, Cache, Devices, EMBEDDED, Gguf, GgufWriter, LoraConfig, Mapped, Message, Model,
    ModelError, Place, Role, Sequence, Special, Stop, Work,
};
use sapwood_tests::random::{BYTE_TOKENS, Shape, gaussian, model_bytes};
use sapwood_tests::sapwood;

const PROMPT: usize = 64;
const DECODE: usize = 64;
/// Normalized mean square error of logits where both devices compute in f32.
const F32: f64 = 1e-5;
/// Where the processor rounds activations to int8, as it does when it decodes from blocks.
const INT8: f64 = 1e-3;

/// A GPU of its own for each test: some lose it.
fn gpu() -> Option<Device> {
    let backend = std::env::var("SAPWOOD_TEST_GPU").ok();
    let choice = GpuChoice { software: true, backend, ..GpuChoice::default() };
    match Device::gpu(&choice) {
        Ok(device) => Some(device),
        Err(error) => {
            println!("SKIPPED: models on the GPU: {error}");
            None
        }
    }
}

fn lose(device: &Device) {
    let Device::Gpu(gpu) = device else { panic!("it is one") };
    gpu.lose();
}

fn on_cpu(file: &Mapped) -> Model {
    Model::from_mapped(file.clone(), &Device::cpu(Some(2))).unwrap()
}

fn on_gpu(file: &Mapped, gpu: &Device) -> Model {
    let devices = Devices::new(Device::cpu(Some(2)), Some(gpu.clone()));
    Model::from_mapped(file.clone(), devices).unwrap()
}

fn embedded() -> Mapped {
    Mapped::from_static(EMBEDDED)
}

fn random_ids(count: usize, vocab: usize) -> Vec<u32> {
    let mut random = SplitMix64(7);
    (0..count).map(|_| random.below(vocab) as u32).collect()
}

/// Logits after a prompt, and after each of the tokens that follow.
fn all_logits(model: &Model, adapter: Option<&Adapter>, ids: &[u32]) -> Vec<f32> {
    let mut cache = model.cache(ids.len());
    let mut all = model.step(&mut cache, adapter, &ids[..PROMPT]).unwrap();
    for id in &ids[PROMPT..] {
        all.extend(model.step(&mut cache, adapter, &[*id]).unwrap());
    }
    all
}

fn nmse(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |x: f64| x * x;
    let error: f64 =
        got.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    error / expected.iter().map(|&b| square(f64::from(b))).sum::<f64>()
}

fn random_adapter(model: &Model) -> Adapter {
    let config = LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() };
    let mut random = SplitMix64(3);
    let count = model.new_adapter(&config, 0).layout().len();
    let values: Vec<f32> = (0..count).map(|_| 0.05 * gaussian(&mut random)).collect();
    model.adapter(&config, &values)
}

#[test]
fn every_architecture_has_the_logits_that_it_has_on_the_processor() {
    let Some(gpu) = gpu() else { return };
    println!("MEASURED: {}", gpu.describe());
    let ids = random_ids(PROMPT + DECODE, BYTE_TOKENS);
    for (name, shape) in Shape::SMALL {
        for quant in [Quant::F32, Quant::Q4_0] {
            let file = Mapped::from_vec(model_bytes(&shape, BYTE_TOKENS, quant, 1));
            let (cpu, gpu) = (on_cpu(&file), on_gpu(&file, &gpu));
            let bar = if quant == Quant::F32 { F32 } else { INT8 };
            let without = all_logits(&cpu, None, &ids);
            let error = nmse(&all_logits(&gpu, None, &ids), &without);
            assert!(error <= bar, "{name} {quant:?}: {error:.1e}");
            println!("MEASURED: {name} {quant:?}: NMSE {error:.1e}");
            if quant == Quant::F32 {
                let adapted = all_logits(&cpu, Some(&random_adapter(&cpu)), &ids);
                let with = nmse(&all_logits(&gpu, Some(&random_adapter(&gpu)), &ids), &adapted);
                assert!(with <= bar, "{name} with an adapter: {with:.1e}");
                assert!(nmse(&adapted, &without) > 1e-3, "the adapter does something");
                println!("MEASURED: {name} with an adapter: NMSE {with:.1e}");
            }
            assert_eq!(gpu.gpu_fault(), None);
        }
    }
}

/// A text of `count` tokens, each chosen by its logits.
fn greedy(
    model: &Model,
    ids: &[u32],
    count: usize,
    mut choose: impl FnMut(&[f32]) -> u32,
) -> Vec<u32> {
    let mut cache = model.cache(ids.len() + count);
    let mut logits = model.step(&mut cache, None, ids).unwrap();
    let mut made = Vec::new();
    while made.len() < count {
        made.push(choose(&logits));
        logits = model.step(&mut cache, None, &made[made.len() - 1..]).unwrap();
    }
    made
}

fn likeliest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

fn deviation(logits: &[f32]) -> f32 {
    let mean = logits.iter().sum::<f32>() / logits.len() as f32;
    let square: f32 = logits.iter().map(|logit| (logit - mean).powi(2)).sum();
    (square / logits.len() as f32).sqrt()
}

/// The same weights in F32, with which the processor computes in f32 as well: from packed blocks it
/// rounds the activations of a single token to int8.
fn in_f32(file: &[u8]) -> Mapped {
    let gguf = Gguf::parse(file).unwrap();
    let mut writer = GgufWriter::new();
    gguf.metadata().for_each(|(key, value)| writer.put(key, value));
    for tensor in gguf.tensors() {
        let mut values = vec![0.0; tensor.rows * tensor.cols];
        tensor.quant.dequantize(&file[tensor.range.clone()], &mut values);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = [tensor.cols, tensor.rows];
        let dims = if tensor.rows == 1 { &dims[..1] } else { &dims };
        writer.tensor(&tensor.name, Quant::F32, dims, bytes);
    }
    Mapped::from_vec(writer.to_bytes())
}

const TEXTS: [&str; 3] =
    ["Triage: my parcel is late", "Reply: shall we meet on Monday?", "Extract: call Ann"];

fn prompt(model: &Model, text: &str) -> Vec<u32> {
    let turns = [Message { role: Role::User, content: text.into() }];
    let prompt = model.template().unwrap().render(&turns, true).unwrap();
    model.tokenizer().encode(&prompt, Special { add: true, parse: true })
}

#[test]
fn the_built_in_model_says_the_same_200_tokens() {
    let Some(gpu) = gpu() else { return };
    let file = in_f32(EMBEDDED);
    let (cpu, gpu) = (on_cpu(&file), on_gpu(&file, &gpu));
    for text in TEXTS {
        let prompt = prompt(&cpu, text);
        let said = greedy(&gpu, &prompt, 200, likeliest);
        assert_eq!(said, greedy(&cpu, &prompt, 200, likeliest), "{text}");
        assert_eq!(gpu.gpu_fault(), None);
    }
}

/// Where two tokens are as likely as the processor's rounding, either may come first.
#[test]
fn from_packed_blocks_it_says_the_same_but_for_ties() {
    const TIE: f32 = 0.05;
    let Some(gpu) = gpu() else { return };
    let (cpu, gpu) = (on_cpu(&embedded()), on_gpu(&embedded(), &gpu));
    for text in TEXTS {
        let prompt = prompt(&cpu, text);
        let said = greedy(&gpu, &prompt, 200, likeliest);
        let (mut rest, mut ties) = (said.iter().enumerate(), 0);
        greedy(&cpu, &prompt, 200, |logits| {
            let (at, &token) = rest.next().unwrap();
            let best = likeliest(logits);
            let margin = (logits[best as usize] - logits[token as usize]) / deviation(logits);
            assert!(margin <= TIE, "{text}: token {at} is {token}, {best} by {margin} deviations");
            ties += usize::from(token != best);
            token
        });
        assert_eq!(gpu.gpu_fault(), None);
        println!("MEASURED: {text}: 200 tokens, {ties} of them ties within {TIE} deviations");
    }
}

fn sequence(model: &Model) -> Sequence {
    Sequence::after_prompt(random_ids(70, model.arch().vocab), 9)
}

fn trainer(model: &Model) -> Trainer<'_> {
    let lora = LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() };
    let config = TrainConfig { lora, steps: 10, batch: 2, ..TrainConfig::default() };
    let state = TrainState::fresh(model, &config, 5);
    Trainer::new(model, config, state)
}

/// Trains to the end, and calls `at` before each sequence.
fn train(model: &Model, mut at: impl FnMut(u32, u32)) -> TrainState {
    let sequence = sequence(model);
    let mut trainer = trainer(model);
    while !trainer.is_done() {
        at(trainer.state().step, trainer.state().micro);
        trainer.micro_step(&sequence, 1.0, &Stop::new()).unwrap();
    }
    trainer.into_adapter().1
}

fn relative(got: &[f32], expected: &[f32]) -> f64 {
    nmse(got, expected).sqrt()
}

#[test]
fn gradients_are_those_of_the_processor() {
    let Some(gpu) = gpu() else { return };
    let mut files = vec![("built in", embedded())];
    for (name, shape) in Shape::SMALL {
        let bytes = model_bytes(&shape, BYTE_TOKENS, Quant::Q4_0, 1);
        files.push((name, Mapped::from_vec(bytes)));
    }
    for (name, file) in files {
        let [cpu, gpu] = [on_cpu(&file), on_gpu(&file, &gpu)].map(|model| {
            let adapter = random_adapter(&model);
            let trace = model.trace(Some(&adapter), &sequence(&model), &Stop::new()).unwrap();
            let dlogp = vec![-1.0 / trace.logp.len() as f32; trace.logp.len()];
            let mut gradient = vec![0.0; adapter.layout().len()];
            model.backward(&adapter, trace, &dlogp, &mut gradient, &Stop::new()).unwrap();
            gradient
        });
        let error = relative(&gpu, &cpu);
        assert!(error <= 1e-3, "{name}: gradients differ by {error:.1e}");
        println!("MEASURED: {name}: gradients differ by {error:.1e}");
    }
}

#[test]
fn ten_updates_have_the_losses_that_they_have_on_the_processor() {
    let Some(gpu) = gpu() else { return };
    let [cpu, gpu] = [on_cpu(&embedded()), on_gpu(&embedded(), &gpu)]
        .map(|model| train(&model, |_, _| {}).losses);
    assert!(cpu[9] < cpu[0], "it learns");
    let apart = cpu.iter().zip(&gpu).map(|(a, b)| ((a - b) / a).abs()).fold(0.0, f32::max);
    assert!(apart <= 1e-3, "{cpu:?} and {gpu:?}");
    println!("MEASURED: losses of ten updates differ by {apart:.1e}");
}

#[test]
fn a_gpu_lost_in_the_middle_of_a_reply_costs_no_token() {
    let ids = random_ids(PROMPT + DECODE, 300);
    let cpu = on_cpu(&embedded());
    let pieces = || std::iter::once(&ids[..PROMPT]).chain(ids[PROMPT..].chunks(1));
    let mut cache = cpu.cache(ids.len());
    let expected: Vec<_> = pieces().map(|ids| cpu.step(&mut cache, None, ids).unwrap()).collect();
    for lost_before in [0, 1, 17] {
        let Some(device) = gpu() else { return };
        let gpu = on_gpu(&embedded(), &device);
        let mut cache = gpu.cache(ids.len());
        for (i, (piece, expected)) in pieces().zip(&expected).enumerate() {
            if i == lost_before {
                lose(&device);
            }
            let got = gpu.step(&mut cache, None, piece).unwrap();
            let error = nmse(&got, expected);
            assert!(error <= INT8, "step {i}, lost before {lost_before}: {error:.1e}");
        }
        assert_eq!(cache.len(), ids.len());
        assert!(matches!(gpu.gpu_fault(), Some(DeviceError::Lost { .. })));
        assert!(!gpu.device(Work::Decode).is_gpu());
    }
}

#[test]
fn a_gpu_lost_in_the_middle_of_training_costs_no_update() {
    let Some(device) = gpu() else { return };
    let (cpu, gpu) = (on_cpu(&embedded()), on_gpu(&embedded(), &device));
    let expected = train(&cpu, |_, _| {});
    let got = train(&gpu, |step, micro| {
        if (step, micro) == (4, 1) {
            lose(&device);
        }
    });
    assert_eq!((got.step, got.skipped, got.tokens), (10, 0, expected.tokens));
    assert!(relative(&got.losses, &expected.losses) <= 1e-3);
    assert!(gpu.gpu_fault().is_some());
}

#[test]
fn a_gradient_that_lost_its_gpu_is_an_error_and_can_be_had_again() {
    let Some(device) = gpu() else { return };
    let gpu = on_gpu(&embedded(), &device);
    let adapter = random_adapter(&gpu);
    let trace = gpu.trace(Some(&adapter), &sequence(&gpu), &Stop::new()).unwrap();
    lose(&device);
    let (dlogp, mut gradient) = (vec![-1.0; trace.logp.len()], vec![0.0; adapter.layout().len()]);
    let failed = gpu.backward(&adapter, trace, &dlogp, &mut gradient, &Stop::new());
    assert!(matches!(failed, Err(ModelError::Gpu(DeviceError::Lost { .. }))));
    gpu.trace(Some(&adapter), &sequence(&gpu), &Stop::new()).unwrap();
}

#[test]
fn a_gpu_that_may_not_be_used_is_left_alone() {
    let Some(device) = gpu() else { return };
    let (cpu, gpu) = (on_cpu(&embedded()), on_gpu(&embedded(), &device));
    let Device::Gpu(used) = &device else { unreachable!("opened as one") };
    gpu.allow_gpu(false);
    let before = used.dispatches();
    train(&gpu, |step, _| gpu.allow_gpu(step == 3));
    assert!(used.dispatches() > before, "at the third update it was allowed");
    let before = used.dispatches();
    let ids = random_ids(PROMPT, 300);
    let mut cache = gpu.cache(ids.len());
    let got = gpu.step(&mut cache, None, &ids).unwrap();
    let expected = cpu.step(&mut cpu.cache(ids.len()), None, &ids).unwrap();
    assert_eq!(got, expected, "to the bit: it was the processor");
    assert_eq!((used.dispatches(), gpu.gpu_fault()), (before, None));
}

/// Steps of a conversation, each at a place of its own.
fn wander(model: &Model, cache: &mut Cache, ids: &[u32], places: &[Place]) -> Vec<f32> {
    let mut logits = Vec::new();
    for (piece, place) in ids.chunks(ids.len().div_ceil(places.len())).zip(places) {
        Work::ALL.iter().for_each(|work| model.assign(*work, *place));
        logits = model.step(cache, None, piece).unwrap();
    }
    logits
}

#[test]
fn a_cache_follows_the_work_from_device_to_device() {
    let Some(device) = gpu() else { return };
    let ids = random_ids(60, 300);
    let gpu = on_gpu(&embedded(), &device);
    let (c, g) = (Place::Cpu, Place::Gpu);
    let expected = wander(&gpu, &mut gpu.cache(64), &ids, &[c]);
    for places in [vec![g, c], vec![c, g], vec![c, g, c, g, g, c], vec![g, c, c, g]] {
        let mut cache = gpu.cache(64);
        let got = wander(&gpu, &mut cache, &ids, &places);
        let error = nmse(&got, &expected);
        assert!(error <= INT8, "{places:?}: {error:.1e}");
        // Another end: the rows behind the common part are nobody's.
        let other: Vec<u32> = ids[..30].iter().copied().chain(random_ids(20, 200)).collect();
        let kept = cache.reuse(None, &other);
        assert_eq!(kept, 30);
        gpu.assign(Work::Prefill, g);
        let again = gpu.step(&mut cache, None, &other[kept..]).unwrap();
        let fresh = gpu.step(&mut gpu.cache(64), None, &other).unwrap();
        assert!(nmse(&again, &fresh) <= INT8, "{places:?}");
    }
}

#[test]
fn weights_that_do_not_fit_are_left_to_the_processor() {
    if gpu().is_none() {
        return;
    }
    // Activations of a prompt don't fit what this GPU binds at once.
    let choice = GpuChoice { software: true, page_bytes: Some(64 << 10), ..GpuChoice::default() };
    let device = Device::gpu(&choice).unwrap();
    let (cpu, gpu) = (on_cpu(&embedded()), on_gpu(&embedded(), &device));
    let ids = random_ids(PROMPT, 300);
    let got = gpu.step(&mut gpu.cache(2048), None, &ids).unwrap();
    let expected = cpu.step(&mut cpu.cache(2048), None, &ids).unwrap();
    assert!(nmse(&got, &expected) <= INT8);
    assert_eq!(gpu.gpu_fault(), Some(DeviceError::OutOfMemory));
}

#[test]
fn the_gpu_holds_what_was_planned() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(held) = &device else { unreachable!("opened as one") };
    let lora = LoraConfig { rank: 8, alpha: 16.0, ..LoraConfig::default() };
    let before = held.bytes();
    let gpu = on_gpu(&embedded(), &device);
    let planned = gpu.plan_training(&lora, 128).gpu as f64;
    let adapter = gpu.new_adapter(&lora, 1);
    let sequence = Sequence::after_prompt(random_ids(129, gpu.arch().vocab), 1);
    let trace = gpu.trace(Some(&adapter), &sequence, &Stop::new()).unwrap();
    // Nothing is freed before the pass is over, but the head's gradient and the landing place of
    // gradients come: the most is held in the middle of it.
    let traced = held.bytes() - before;
    let mut gradient = vec![0.0; adapter.layout().len()];
    let dlogp = vec![-1.0; trace.logp.len()];
    gpu.backward(&adapter, trace, &dlogp, &mut gradient, &Stop::new()).unwrap();
    let peak = (held.peak_bytes() - before) as f64;
    println!(
        "MEASURED: training: {peak} bytes at most, {traced} before the gradient, {planned} planned"
    );
    assert!((peak / planned - 1.0).abs() <= 0.1, "{peak} bytes, {planned} planned");
}

#[test]
fn what_is_faster_is_measured_for_each_kind_of_work() {
    let Some(device) = gpu() else { return };
    let model = on_gpu(&embedded(), &device);
    for work in Work::ALL {
        let [cpu, gpu] = [Place::Cpu, Place::Gpu]
            .map(|place| model.time_of_block(work, place, std::time::Duration::ZERO).unwrap());
        println!("MEASURED: {}: {:.3} of the processor's speed", work.name(), {
            cpu.as_secs_f64() / gpu.as_secs_f64()
        });
    }
    lose(&device);
    assert_eq!(model.time_of_block(Work::Decode, Place::Gpu, std::time::Duration::ZERO), None);
}

#[test]
fn a_model_is_opened_where_it_is_wanted() {
    let Some(_) = gpu() else { return };
    let open = |wanted| {
        let opening = Opening { wanted, threads: Some(2), cache: None };
        placement::open(embedded(), &opening).unwrap()
    };
    let (model, placement) = open(Wanted::Gpu);
    assert!(Work::ALL.iter().all(|work| model.device(*work).is_gpu()), "{placement:?}");
    let (_, placement) = open(Wanted::Auto);
    // What the processor emulates is never the faster one.
    if placement.gpu.is_err() {
        assert!(placement.places.iter().all(|(_, place)| *place == Place::Cpu));
    }
    let shared = Arc::new(model);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let model = shared.clone();
            std::thread::spawn(move || greedy(&model, &[1, 5, 9], 20, likeliest))
        })
        .collect();
    let said: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(said.iter().all(|text| *text == said[0]), "threads that share a GPU");
}

#[test]
fn without_any_adapter_the_processor_does_it_or_the_error_says_why() {
    let without = |device: &str| {
        let mut command = sapwood();
        for drivers in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"] {
            command.env(drivers, "/nonexistent");
        }
        command.args(["generate", "-p", "Hello", "-n", "4", "--device", device]).output().unwrap()
    };
    for device in ["auto", "cpu"] {
        let output = without(device);
        assert!(output.status.success(), "{device}: {output:?}");
    }
    let output = without("gpu");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no GPU can be used"), "{said}");
}
