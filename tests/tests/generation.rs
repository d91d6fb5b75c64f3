//! Generation on real trained models: the text that the reference implementation gives.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use sapwood_kernels::Device;
use sapwood_models::{Model, Special};

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

fn greedy(model: &Model, prompt: &str, tokens: usize) -> String {
    let ids = model.tokenizer().encode(prompt, Special { add: true, parse: false });
    let mut cache = model.cache(ids.len() + tokens);
    let mut logits = model.step(&mut cache, None, &ids).unwrap();
    let mut made = Vec::new();
    while made.len() < tokens {
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        if model.tokenizer().is_end(best as u32) {
            break;
        }
        made.push(best as u32);
        logits = model.step(&mut cache, None, &[best as u32]).unwrap();
    }
    String::from_utf8(model.tokenizer().decode(&[&ids[..], &made].concat())).unwrap()
}

#[test]
fn stories260k_tells_the_expected_story() {
    let Some(dir) = shared("data/models/stories260k") else { return };
    let expected = std::fs::read_to_string(dir.join("expected_greedy_200.txt")).unwrap();
    for threads in [1, 2] {
        let device = Device::cpu(Some(threads));
        let model = Model::open(&dir.join("stories260K-F32.gguf"), &device).unwrap();
        let story = greedy(&model, "", 200);
        assert_eq!(story.trim(), expected.trim());
    }
}
