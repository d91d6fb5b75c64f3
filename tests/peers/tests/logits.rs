//! Logits of both engines on the same files: each architecture with each block type, a prompt and
//! then single tokens through the KV cache.

use std::path::Path;

use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Device, Quant};
use sapwood_models::Model;
use sapwood_peers::compare::{CHANCE, nmse};
use sapwood_peers::data;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{BYTE_TOKENS, Shape, write_model};

const PROMPT: usize = 64;
const DECODE: usize = 64;

/// The logits of one engine before each step, one after the other.
type Logits = Vec<f32>;

/// Random tokens, so that no early difference can grow through sampling.
fn tokens(vocab: usize, seed: u64) -> Vec<u32> {
    let mut random = SplitMix64(seed);
    (0..PROMPT + DECODE).map(|_| random.below(vocab) as u32).collect()
}

fn ours(path: &Path, ids: &[u32]) -> Logits {
    let (prompt, rest) = ids.split_at(PROMPT);
    let model = Model::open(path, &Device::cpu(Some(data::THREADS))).unwrap();
    let mut cache = model.cache(ids.len());
    let mut logits = model.step(&mut cache, None, prompt).unwrap();
    for &id in rest {
        logits.extend(model.step(&mut cache, None, &[id]).unwrap());
    }
    logits
}

fn theirs(path: &Path, ids: &[u32]) -> Logits {
    let (prompt, rest) = ids.split_at(PROMPT);
    let mut llama = Llama::open(path).unwrap();
    let mut session = llama.session(ids.len()).unwrap();
    let mut logits = session.feed(prompt).unwrap();
    for &id in rest {
        logits.extend(session.feed(&[id]).unwrap());
    }
    logits
}

/// What the weights of a file mean: llama.cpp on the same weights in f32, where it rounds nothing.
fn exact(path: &Path, ids: &[u32]) -> Logits {
    let dequantized = path.with_extension("f32.gguf");
    quantize(path, &dequantized, Recipe::Pure("F32")).unwrap();
    theirs(&dequantized, ids)
}

/// Normalized mean squared errors of a file's logits.
struct Errors {
    /// Ours to llama.cpp's on the same weights in f32.
    ours: f64,
    /// llama.cpp's on the file to its own on the same weights in f32: what its rounding of
    /// activations to 8 bits costs it.
    theirs: f64,
    /// Ours to llama.cpp's on the file.
    between: f64,
}

fn errors(path: &Path, vocab: usize, seed: u64) -> Errors {
    let ids = tokens(vocab, seed);
    let (ours, theirs, exact) = (ours(path, &ids), theirs(path, &ids), exact(path, &ids));
    let between = nmse(&ours, &theirs);
    Errors { ours: nmse(&ours, &exact), theirs: nmse(&theirs, &exact), between }
}

/// The bar is on the difference to llama.cpp, or on our own error, and where its own rounding costs
/// it more than the bar, on being no worse than it but for chance. Two engines that both round are
/// apart by the sum of their errors: more than twice that would be a difference in meaning, not in
/// rounding.
fn verdict(name: &str, e: &Errors, bar: f64) -> Option<String> {
    let line = format!(
        "{name}: NMSE to llama.cpp {:.1e}; to its f32 on the same weights: ours {:.1e}, its own \
         {:.1e}",
        e.between, e.ours, e.theirs
    );
    println!("MEASURED: {line} (bar {bar:.0e})");
    let explained = e.between <= bar.max(2.0 * (e.ours + e.theirs));
    let right = e.between <= bar || e.ours <= bar.max(CHANCE * e.theirs);
    (!right || !explained).then_some(line)
}

/// With F32 weights nothing is rounded; llama.cpp rounds activations to f16 for F16 weights.
fn bar(quant: Quant) -> f64 {
    match quant {
        Quant::F32 => 1e-6,
        Quant::F16 => 2e-6,
        _ => 5e-4,
    }
}

#[test]
fn each_architecture_with_each_block_type() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("f32.gguf"), folder.path().join("model.gguf"));
    let mut failed = Vec::new();
    for (name, shape) in Shape::SMALL {
        write_model(&source, &shape, BYTE_TOKENS, Quant::F32, 11).unwrap();
        for quant in Quant::ALL {
            match quant {
                Quant::F32 => std::fs::copy(&source, &path).map(|_| ()).unwrap(),
                _ => quantize(&source, &path, Recipe::Pure(quant.name())).unwrap(),
            }
            let errors = errors(&path, BYTE_TOKENS, 12);
            failed.extend(verdict(&format!("{name} {}", quant.name()), &errors, bar(quant)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Files in llama.cpp's mixtures, with the real shape: SmolLM2-135M in Q4_K_M always, all others
/// in a soak run (they are up to 2.5 GB).
#[test]
fn real_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("f16.gguf"), folder.path().join("model.gguf"));
    let soak = std::env::var_os("SAPWOOD_SOAK").is_some();
    let (shapes, mixtures) = if soak { (5, 3) } else { (1, 1) };
    let mut failed = Vec::new();
    for &(name, vocab, shape) in &Shape::REAL[..shapes] {
        write_model(&source, &shape, vocab, Quant::F16, 13).unwrap();
        for mixture in &["Q4_K_M", "Q4_0", "Q8_0"][..mixtures] {
            quantize(&source, &path, Recipe::Mixture(mixture)).unwrap();
            let errors = errors(&path, vocab, 14);
            failed.extend(verdict(&format!("{name} {mixture}"), &errors, 5e-4));
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
