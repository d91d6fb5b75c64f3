//! Logits of both engines on the same files: each architecture with each block type, a prompt and
//! then single tokens through the KV cache.

use std::path::Path;

use sapwood_kernels::{Device, Quant};
use sapwood_models::Model;
use sapwood_peers::compare::nmse;
use sapwood_peers::data;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{Random, Shape, Vocabulary, write_model};

const PROMPT: usize = 64;
const DECODE: usize = 64;

/// Error over all steps together, and of the worst step.
struct Difference {
    all: f64,
    worst: f64,
}

/// Both engines see the same random tokens, so no early difference can grow through sampling.
fn compare(path: &Path, vocab: usize, seed: u64) -> Difference {
    let mut random = Random::new(seed);
    let ids: Vec<u32> = (0..PROMPT + DECODE).map(|_| random.below(vocab) as u32).collect();
    let (prompt, rest) = ids.split_at(PROMPT);
    let model = Model::open(path, &Device::cpu(Some(2))).unwrap();
    let mut cache = model.cache(ids.len());
    let mut ours = vec![model.step(&mut cache, None, prompt).unwrap()];
    ours.extend(rest.iter().map(|&id| model.step(&mut cache, None, &[id]).unwrap()));
    let mut llama = Llama::open(path).unwrap();
    let mut session = llama.session(ids.len()).unwrap();
    let mut theirs = vec![session.feed(prompt).unwrap()];
    theirs.extend(rest.iter().map(|&id| session.feed(&[id]).unwrap()));
    let steps = ours.iter().zip(&theirs).map(|(o, t)| nmse(o, t));
    Difference { worst: steps.fold(0.0, f64::max), all: nmse(&ours.concat(), &theirs.concat()) }
}

/// Bound on the error over all steps. llama.cpp rounds activations to f16 or bf16 for such
/// weights and to 8 bits for quantized ones; with F32 weights nothing is rounded.
fn bound(quant: Quant) -> f64 {
    match quant {
        Quant::F32 => 1e-6,
        Quant::F16 => 1e-5,
        _ => 5e-4,
    }
}

#[test]
fn each_architecture_with_each_block_type() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("f32.gguf"), folder.path().join("model.gguf"));
    let mut failed = Vec::new();
    for (name, shape) in Shape::SMALL {
        write_model(&source, &shape, Vocabulary::Bytes, Quant::F32, 11).unwrap();
        for quant in Quant::ALL {
            match quant {
                Quant::F32 => std::fs::copy(&source, &path).map(|_| ()).unwrap(),
                _ => quantize(&source, &path, Recipe::Pure(quant.name())).unwrap(),
            }
            let Difference { all, worst } = compare(&path, 259, 12);
            let line = format!("{name} {}: NMSE {all:.1e}, worst step {worst:.1e}", quant.name());
            println!("MEASURED: {line} (bound {:.0e})", bound(quant));
            if all > bound(quant) {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A file in llama.cpp's mixtures, with the real vocabulary and shape: of SmolLM2-135M always, of
/// the others in a soak run (they are up to 2.5 GB).
#[test]
fn real_shapes() {
    let Some(vocabularies) = data::shared("vocab") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("f16.gguf"), folder.path().join("model.gguf"));
    let shapes = if std::env::var_os("SAPWOOD_SOAK").is_some() { 5 } else { 1 };
    let mut failed = Vec::new();
    for (name, vocabulary, shape) in &Shape::REAL[..shapes] {
        let vocabulary = vocabularies.join(format!("ggml-vocab-{vocabulary}.gguf"));
        let vocab = Vocabulary::File(&vocabulary);
        write_model(&source, shape, vocab, Quant::F16, 13).unwrap();
        for mixture in ["Q4_0", "Q4_K_M", "Q8_0"] {
            quantize(&source, &path, Recipe::Mixture(mixture)).unwrap();
            let Difference { all, worst } = compare(&path, 40_000, 14);
            let line = format!("{name} {mixture}: NMSE {all:.1e}, worst step {worst:.1e}");
            println!("MEASURED: {line} (bound 5e-4)");
            if all > 5e-4 {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The models that PyTorch's golden curves are made with: exact logits are in those files, so the
/// oracle itself is checked here.
#[test]
fn llama_cpp_agrees_with_pytorch_on_the_golden_models() {
    let folder = data::root().join("tests/golden/peft");
    for name in ["llama", "llama3", "qwen2", "qwen3", "gemma3"] {
        let path = folder.join(format!("{name}.gguf"));
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f64> {
            v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let sequence = golden["logits_sequence"].as_u64().unwrap() as usize;
        let ids = numbers(&golden["sequences"][sequence]["ids"]);
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let lora = folder.join(format!("{name}.init.lora.gguf"));
        let with = Llama::open_with_adapter(&path, &lora, 1.0).unwrap();
        let pairs = [(Llama::open(&path).unwrap(), "base"), (with, "adapter")];
        for (mut llama, kind) in pairs {
            let got = llama.session(ids.len()).unwrap().feed(&ids).unwrap();
            let want = numbers(&golden[format!("last_logits_{kind}")]);
            let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            let error = nmse(&got, &want);
            println!("MEASURED: llama.cpp to PyTorch, {name} {kind}: NMSE {error:.1e}");
            let bound = if name == "llama" { 1e-9 } else { 5e-4 };
            assert!(error < bound, "{name} {kind}: {error}");
        }
    }
}
