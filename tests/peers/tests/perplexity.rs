//! Perplexity of both engines on the same texts, as llama.cpp's tool defines it.

use std::path::Path;

use sapwood_kernels::{Device, Quant};
use sapwood_models::{Model, Sequence, Stop};
use sapwood_peers::data;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{Shape, write_model};

/// Windows of `window` tokens, the first replaced by BOS, the second half scored.
fn ours(path: &Path, ids: &[u32], bos: Option<u32>, window: usize) -> f64 {
    let model = Model::open(path, &Device::cpu(Some(data::THREADS))).unwrap();
    let (mut nll, mut count) = (0.0, 0);
    for chunk in ids.chunks_exact(window) {
        let mut chunk = chunk.to_vec();
        if let Some(bos) = bos {
            chunk[0] = bos;
        }
        // llama.cpp scores positions window/2 .. window-1, each by the token after it.
        let sequence = Sequence::after_prompt(chunk, window / 2 + 1);
        let logp = model.score(None, &sequence, &Stop::new()).unwrap();
        count += logp.len();
        nll -= logp.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
    (nll / count as f64).exp()
}

/// Ratio of our perplexity to llama.cpp's.
fn ratio(path: &Path, text: &[u8], window: usize) -> f64 {
    let mut llama = Llama::open(path).unwrap();
    let ids = llama.tokenize(text, true, false);
    let (want, tokens) = llama.perplexity(text, window).unwrap();
    let got = ours(path, &ids, llama.bos(), window);
    let name = data::name(path);
    println!("MEASURED: {name}: ours {got:.4}, llama.cpp {want:.4} on {tokens} tokens");
    got / want
}

fn check(path: &Path, text: &[u8], window: usize) {
    let ratio = ratio(path, text, window);
    assert!((ratio - 1.0).abs() < 0.005, "{}: ratio {ratio}", data::name(path));
}

/// The stories, without their JSON and with only the characters that every small vocabulary has:
/// at others llama.cpp throws.
fn stories(bytes: usize) -> Option<Vec<u8>> {
    let file = data::shared("tinystories-sample/stories.jsonl")?;
    let mut text = String::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let story: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = story.as_object().unwrap().values().filter_map(|v| v.as_str());
        let story = fields.max_by_key(|s| s.len()).unwrap_or_default();
        text.extend(story.chars().filter(|c| c.is_ascii_alphabetic() || " .,!?'".contains(*c)));
        text.push(' ');
        if text.len() > bytes {
            break;
        }
    }
    Some(text.into_bytes())
}

#[test]
fn trained_models() {
    let Some(text) = stories(12_000) else { return };
    for path in data::trained_models() {
        check(&path, &text, 128);
    }
}

#[test]
fn the_embedded_model() {
    let text: String = (0..40)
        .map(|i| format!("The order {i} has not arrived. Please send a new one by Monday. "))
        .collect();
    check(&data::embedded_model(), text.as_bytes(), 128);
}

#[test]
fn a_real_shape() {
    let Some(text) = stories(600) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("f16.gguf"), folder.path().join("smollm2.gguf"));
    let (_, vocab, shape) = Shape::REAL[0];
    write_model(&source, &shape, vocab, Quant::F16, 21).unwrap();
    quantize(&source, &path, Recipe::Mixture("Q4_K_M")).unwrap();
    // Each character is a token here: four windows.
    check(&path, &text[..600], 128);
}
