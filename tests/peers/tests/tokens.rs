//! Token ids of both engines for random texts, with every real vocabulary.

use std::ops::RangeInclusive;

use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{Gguf, Special, Tokenizer};
use sapwood_peers::data;
use sapwood_peers::llama::Llama;

const TEXTS: usize = 1500;

/// Pieces that pre-tokenizers treat differently: letters of several scripts, digits, marks,
/// spaces of all kinds, contractions, emoji with modifiers, a special token spelled out.
///
/// Not among them is `</s>`: by its spelling alone llama.cpp makes it a control token in qwen2, and
/// by the model's name an ordinary one in phi-3. We go by what the file says.
const PIECES: [&str; 45] = [
    "a",
    "the",
    "Hello",
    "WORLD",
    "it's",
    "I'LL",
    "'re",
    "don't",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "0",
    "7",
    "123",
    "3.14",
    "1,000",
    "2024-11-21",
    ".",
    "...",
    "!?",
    "(x)",
    "[[",
    "_",
    "__init__",
    "#",
    "@user",
    "é",
    "e\u{301}",
    "ü",
    "ß",
    "Привет",
    "日本語",
    "한국어",
    "العربية",
    "हिन्दी",
    "🙂",
    "👩‍👩‍👧",
    "🇩🇪",
    "<|endoftext|>",
];

/// What Unicode 16 added to the first plane (2024): our tables know it, llama.cpp's not yet.
const UNICODE_16: [RangeInclusive<char>; 8] = [
    '\u{897}'..='\u{897}',
    '\u{1b4e}'..='\u{1b4f}',
    '\u{1b7f}'..='\u{1b7f}',
    '\u{1c89}'..='\u{1c8a}',
    '\u{2427}'..='\u{2429}',
    '\u{31e4}'..='\u{31e5}',
    '\u{a7cb}'..='\u{a7cd}',
    '\u{a7da}'..='\u{a7dc}',
];

fn text(random: &mut SplitMix64) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(24) {
        match random.below(12) {
            // Any character of the first plane.
            0 => text.extend(char::from_u32(random.below(0x1_0000) as u32)),
            1 => text.extend(char::from_u32(random.below(0x3000) as u32)),
            _ => text.push_str(PIECES[random.below(PIECES.len())]),
        }
    }
    // llama.cpp takes the text as a C string in some of its steps, and its tables are older.
    text.retain(|c| c != '\0' && !UNICODE_16.iter().any(|range| range.contains(&c)));
    text
}

#[test]
fn random_texts_have_the_same_tokens() {
    let Some(folder) = data::shared("vocab") else { return };
    let names = [
        "llama-bpe",
        "qwen2",
        "gpt-2",
        "starcoder",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "llama-spm",
        "phi-3",
    ];
    let mut failed = Vec::new();
    for name in names {
        let path = folder.join(format!("ggml-vocab-{name}.gguf"));
        let bytes = std::fs::read(&path).unwrap();
        let ours = Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap();
        let llama = Llama::open_vocabulary(&path).unwrap();
        let mut random = SplitMix64(31);
        let mut differ = 0;
        for number in 0..TEXTS {
            let text = text(&mut random);
            let special = number % 2 == 0;
            let got = ours.encode(&text, Special { add: special, parse: special });
            let want = llama.tokenize(text.as_bytes(), special, special);
            if got != want {
                differ += 1;
                if differ <= 3 {
                    failed.push(format!("{name}: {text:?}\n  ours   {got:?}\n  theirs {want:?}"));
                }
            }
        }
        println!("MEASURED: {name}: {differ} of {TEXTS} random texts differ from llama.cpp's");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
