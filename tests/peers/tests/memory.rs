//! Training's peak of memory on well-known shapes: what the plan says before the first step, and
//! what the system says after one. Each is measured in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use sapwood::learn::train::{TrainConfig, TrainState, Trainer};
use sapwood_kernels::{Device, Quant};
use sapwood_models::{LoraConfig, Model, Sequence, Stop, Target};
use sapwood_peers::data::THREADS;
use sapwood_peers::random::{Shape, write_model};

const TOKENS: usize = 512;
const MB: f64 = 1e6;

/// How far the measured peak may be from the planned one.
const TOLERANCE: f64 = 0.1;
/// What training may take beside the weights.
const BESIDE_WEIGHTS_MB: f64 = 200.0;

/// Set for the process that is measured: the model's file.
const MODEL: &str = "SAPWOOD_MEMORY_TEST_MODEL";

/// One step of training at rank 8 on all seven linears; prints the planned and the measured peak.
fn train(path: &Path) {
    // The plan knows nothing of what the test and llama.cpp linked to it take.
    let before = peak_bytes();
    let model = Model::open(path, &Device::cpu(Some(THREADS))).unwrap();
    let lora = LoraConfig { rank: 8, alpha: 16.0, targets: Target::ALL.to_vec() };
    let planned = model.plan_training(&lora, TOKENS).total_bytes();
    let vocab = model.arch().vocab;
    let ids = (0..=TOKENS).map(|i| ((i * 7919 + 13) % vocab) as u32).collect();
    let config = TrainConfig { lora, steps: 1, batch: 1, ..TrainConfig::default() };
    let state = TrainState::fresh(&model, &config, 1);
    let mut trainer = Trainer::new(&model, config, state);
    trainer.micro_step(&Sequence::after_prompt(ids, 1), 1.0, &Stop::new()).unwrap();
    println!("PEAK {planned} {}", peak_bytes() - before);
}

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib * 1024
}

/// The child process: nothing without [`MODEL`].
#[test]
fn child() {
    if let Some(path) = std::env::var_os(MODEL) {
        train(&PathBuf::from(path));
    }
}

#[test]
fn training_takes_what_was_planned_and_little_beside_the_weights() {
    if !cfg!(target_os = "linux") {
        println!("SKIPPED: the peak of memory is read as Linux tells it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["SmolLM2-135M", "Qwen2.5-0.5B"] {
        let (_, vocab, shape) = Shape::REAL.iter().find(|real| real.0 == name).unwrap();
        let path = folder.path().join(format!("{name}.gguf"));
        write_model(&path, shape, *vocab, Quant::Q4_0, 1).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(MODEL, &path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        let line = text.lines().find_map(|line| line.split_once("PEAK "));
        let (_, numbers) = line.unwrap_or_else(|| panic!("{text}\n{child:?}"));
        let [planned, peak] =
            [0, 1].map(|i| numbers.split_whitespace().nth(i).unwrap().parse::<f64>().unwrap() / MB);
        let weights = std::fs::metadata(&path).unwrap().len() as f64 / MB;
        let beside = peak - weights;
        println!(
            "MEASURED: {name} Q4_0, {TOKENS} tokens: peak {peak:.0} MB, planned {planned:.0} MB, \
             {beside:.0} MB beside the file's {weights:.0} MB"
        );
        assert!((peak / planned - 1.0).abs() <= TOLERANCE, "planned {planned}, peak {peak}");
        assert!(beside <= BESIDE_WEIGHTS_MB, "{beside} MB beside the weights");
    }
}
