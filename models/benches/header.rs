//! Time to read a header with a large vocabulary: `cargo bench -p sapwood-models`.

use std::time::Instant;

use sapwood_models::{Gguf, GgufWriter, Tokenizer};

fn main() {
    let tokens: Vec<String> = (0..262_144).map(|id| format!("token-{id}")).collect();
    let mut writer = GgufWriter::new();
    writer.put("tokenizer.ggml.model", "llama");
    writer.put_strings("tokenizer.ggml.tokens", &tokens);
    writer.put_f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
    writer.put_i32s("tokenizer.ggml.token_type", &vec![1; tokens.len()]);
    let file = writer.to_bytes();
    let timed = |work: &dyn Fn()| {
        let once = |_| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..20).map(once).min().unwrap_or_default()
    };
    let parsed = timed(&|| drop(Gguf::parse(&file)));
    println!("header of {} bytes, {} tokens: {parsed:?}", file.len(), tokens.len());
    let Ok(gguf) = Gguf::parse(&file) else { return };
    let made = timed(&|| drop(Tokenizer::from_gguf(&gguf)));
    println!("its tokenizer: {made:?}");
}
