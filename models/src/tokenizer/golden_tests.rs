//! llama.cpp's own vocabularies and its recorded results for them, id for id.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::gguf::Gguf;

/// `.inp` separates its texts by this line.
const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// The vocabulary's file without its ending, or a loud skip.
fn vocabulary(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/vocab");
    let path = root.join(format!("ggml-vocab-{name}.gguf"));
    if !path.exists() {
        println!("SKIPPED: {} is not there, nothing compared", path.display());
        return None;
    }
    Some(path)
}

fn load(path: &Path) -> Tokenizer {
    let gguf = Gguf::parse(&std::fs::read(path).unwrap()).unwrap();
    Tokenizer::from_gguf(&gguf).unwrap()
}

fn cases(path: &Path) -> Vec<(String, Vec<u32>)> {
    let file =
        |ending: &str| std::fs::read_to_string(format!("{}{ending}", path.display())).unwrap();
    let (texts, ids) = (file(".inp"), file(".out"));
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()));
    let texts = texts.split(SEPARATOR).map(str::to_owned);
    texts.zip(ids.map(Iterator::collect)).collect()
}

fn reproduces(name: &str) {
    let Some(path) = vocabulary(name) else { return };
    let (tokenizer, cases) = (load(&path), cases(&path));
    assert!(cases.len() >= 40, "{name}: {} cases", cases.len());
    for (number, (text, ids)) in cases.iter().enumerate() {
        let found = tokenizer.encode(text, Special::default());
        assert_eq!(&found, ids, "{name}: case {number}: {text:?}");
        let back = String::from_utf8(tokenizer.decode(&found)).unwrap();
        assert_eq!(&back, text, "{name}: case {number}");
        let mut stream = tokenizer.stream(false);
        let mut streamed: String = found.iter().map(|&id| stream.push(id)).collect();
        streamed += &stream.finish();
        assert_eq!(streamed, back, "{name}: case {number}, streamed");
    }
    println!("{name}: {} cases", cases.len());
}

macro_rules! golden {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { reproduces($name); })*
    };
}

golden! {
    golden_deepseek_coder: "deepseek-coder",
    golden_deepseek_llm: "deepseek-llm",
    golden_falcon: "falcon",
    golden_gpt_2: "gpt-2",
    golden_llama_bpe: "llama-bpe",
    golden_llama_spm: "llama-spm",
    golden_phi_3: "phi-3",
    golden_qwen2: "qwen2",
    golden_starcoder: "starcoder",
}

#[test]
fn gemma_4_is_refused_by_name() {
    let Some(path) = vocabulary("gemma-4") else { return };
    let gguf = Gguf::parse(&std::fs::read(path).unwrap()).unwrap();
    let error = Tokenizer::from_gguf(&gguf).err();
    let model = "gemma4".to_owned();
    assert_eq!(error, Some(TokenizerError::UnsupportedModel { model }));
}

/// `cargo test -p sapwood-models --release speed -- --ignored --nocapture`
#[test]
#[ignore = "measurement: the speed of the tokenizers, for whoever works on it"]
fn speed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let Ok(text) = std::fs::read_to_string(root.join("tinyshakespeare/input.txt")) else {
        println!("SKIPPED: no text");
        return;
    };
    for name in ["gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "llama-spm"] {
        let Some(path) = vocabulary(name) else { return };
        let start = Instant::now();
        let tokenizer = load(&path);
        let loaded = start.elapsed();
        let start = Instant::now();
        let ids = tokenizer.encode(&text, Special::default());
        let seconds = start.elapsed().as_secs_f64();
        let rate = text.len() as f64 / 1e6 / seconds;
        println!("{name}: loaded in {loaded:?}, {} ids, {rate:.1} MB/s", ids.len());
    }
}
