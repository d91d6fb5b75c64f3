//! Attacks with vocabularies.

use super::file::{Encoded, STRING};
use super::small::Shape;
use super::{Case, case};

/// A vocabulary without a model around it, as vocabulary files are, with one key changed.
fn vocabulary(sentence_piece: bool, key: &str, value: Encoded) -> Vec<u8> {
    let mut file = Shape { sentence_piece, ..Shape::fixed("llama") }.describe();
    file.set(key, value);
    file.write()
}

pub fn cases() -> Vec<Case> {
    let count = {
        let file = Shape { sentence_piece: true, ..Shape::fixed("llama") }.describe();
        file.tensors[0].dims[1] as usize
    };
    let bytes = Encoded::array(0, count as u64, &vec![0; count]);
    let token = |from: &[u8], to: &[u8]| {
        let mut file = Shape { sentence_piece: true, ..Shape::fixed("llama") }.describe();
        for (key, value) in &mut file.keys {
            if key == b"tokenizer.ggml.tokens" {
                let at = value.bytes.windows(from.len()).position(|window| window == from);
                let at = at.expect("a token of the vocabulary");
                value.bytes[at..at + from.len()].copy_from_slice(to);
            }
        }
        file.write()
    };
    let floats = |len: usize, value: f32| Encoded::f32s(&vec![value; len]);
    vec![
        case(
            "scores of one byte each",
            "ggml-org/llama.cpp#26690",
            vocabulary(true, "tokenizer.ggml.scores", bytes.clone()),
            ("WrongType", "tokenizer.ggml.scores"),
        ),
        case(
            "token types of one byte each",
            "ggml-org/llama.cpp#26690",
            vocabulary(true, "tokenizer.ggml.token_type", bytes),
            ("WrongType", "tokenizer.ggml.token_type"),
        ),
        case(
            "fewer scores than tokens",
            "ggml-org/llama.cpp#20735",
            vocabulary(true, "tokenizer.ggml.scores", floats(count - 1, 0.0)),
            ("Length", "tokenizer.ggml.scores"),
        ),
        case(
            "fewer token types than tokens",
            "ggml-org/llama.cpp#20735",
            vocabulary(true, "tokenizer.ggml.token_type", Encoded::i32s(&[1])),
            ("Length", "tokenizer.ggml.token_type"),
        ),
        case(
            "a score that is no number: no order of merges",
            "no number: comparisons that never end",
            vocabulary(true, "tokenizer.ggml.scores", floats(count, f32::NAN)),
            ("Score", "token 0"),
        ),
        case(
            "a token type that nobody defined",
            "no number: enum from a file",
            vocabulary(true, "tokenizer.ggml.token_type", Encoded::i32s(&vec![7; count])),
            ("TokenType", "token 0"),
        ),
        case(
            "a byte token of -1: a write before the table",
            "ggml-org/llama.cpp#27226",
            token(b"<0x41>", b"<0x-1>"),
            ("ByteToken", "byte token"),
        ),
        case(
            "a byte token twice",
            "no number: 255 bytes for 256",
            token(b"<0x41>", b"<0x42>"),
            ("ByteToken", "byte token"),
        ),
        case(
            "a token to end with that is not there",
            "ggml-org/llama.cpp#25508, #25475; EricLBuehler/mistral.rs#2282",
            vocabulary(false, "tokenizer.ggml.eos_token_id", Encoded::u32(u32::MAX)),
            ("RoleOutOfRange", "eos"),
        ),
        case(
            "a token of 4 KiB for a buffer of less",
            "CVE-2025-49847 (llama.cpp)",
            vocabulary(false, "tokenizer.ggml.tokens", Encoded::strings(&[vec![b'x'; 4096]])),
            ("ValueTooLong", "tokenizer.ggml.tokens"),
        ),
        case(
            "no token at all",
            "no number: index 0 of nothing",
            {
                let mut file = Shape::fixed("llama").describe();
                file.tensors.retain(|tensor| tensor.name != b"token_embd.weight");
                file.set("tokenizer.ggml.tokens", Encoded::array(STRING, 0, &[]));
                file.write()
            },
            ("MissingTensor", "token_embd.weight"),
        ),
        case(
            "tokens that are numbers",
            "no number: strings read from floats",
            vocabulary(false, "tokenizer.ggml.tokens", floats(3, 0.0)),
            ("WrongType", "tokenizer.ggml.tokens"),
        ),
        case(
            "a merge without a space",
            "no number: substr behind the end",
            vocabulary(false, "tokenizer.ggml.merges", Encoded::strings(&["ab"])),
            ("Merge", "merge 0"),
        ),
        case(
            "a merge of what is no token",
            "no number: map::at",
            vocabulary(false, "tokenizer.ggml.merges", Encoded::strings(&["zz zz"])),
            ("Merge", "merge 0"),
        ),
        case(
            "a pre-tokenizer from the file: a regular expression without end",
            "no number: ReDoS",
            vocabulary(false, "tokenizer.ggml.pre", Encoded::text(b"(a+)+$")),
            ("UnsupportedPre", "pre-tokenizer"),
        ),
    ]
}
