//! Vocabularies as a file may have them, and any text.

use arbitrary::{Arbitrary, Unstructured};
use sapwood_models::{Gguf, GgufWriter, Special, Tokenizer};

use crate::hostile::small::alphabet;
use crate::mutate::{float, interesting};

/// Longest text that is encoded.
const TEXT_BYTES: usize = 1 << 16;

/// The bytes describe a vocabulary; what is left of them is the text.
pub fn tokenizer(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok((file, normal)) = describe(&mut input) else { return };
    let text = String::from_utf8_lossy(input.take_rest());
    let gguf = Gguf::parse(&file).expect("our writer wrote it");
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else { return };
    let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
    for (add, parse) in [(true, true), (false, false)] {
        let ids = tokenizer.encode(text, Special { add, parse });
        // A token for each byte, and what stands around them.
        assert!(ids.len() <= 3 * text.len() + 4, "{} ids for {} bytes", ids.len(), text.len());
        assert!(ids.iter().all(|&id| tokenizer.token_type(id).is_some()));
        let decoded = tokenizer.decode(&ids);
        let mut stream = tokenizer.stream(false);
        let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, String::from_utf8_lossy(&decoded));
        if normal && !add {
            assert_eq!(decoded, text.as_bytes(), "nothing is lost");
        }
    }
    for id in [0, 255, 256, u32::MAX] {
        let _ = (tokenizer.piece(id), tokenizer.token_type(id), tokenizer.is_end(id));
        tokenizer.decode(&[id, 0, id]);
    }
    tokenizer.special_id(text);
}

/// A file with a vocabulary, and whether it has all bytes and no token but normal ones.
fn describe(input: &mut Unstructured) -> arbitrary::Result<(Vec<u8>, bool)> {
    let sentence_piece = bool::arbitrary(input)?;
    let mut made = match (sentence_piece, input.int_in_range(0..=7)?) {
        (_, 0) => Made::default(),
        (true, _) => Made::sentence_piece(),
        (false, _) => Made::bytes(),
    };
    let mut normal = !sentence_piece && !made.tokens.is_empty();
    for _ in 0..input.int_in_range(0..=12)? {
        let kind = if bool::arbitrary(input)? { 1 } else { input.int_in_range(-1..=8)? };
        normal &= kind == 1;
        let token = match (sentence_piece, bool::arbitrary(input)?) {
            (false, true) => made.merge(input)?,
            (true, true) => made.joined(input)?,
            (_, false) => {
                let len = input.int_in_range(0..=24usize)?.min(input.len());
                input.bytes(len)?.to_vec()
            }
        };
        made.push(token, kind, float(input)?);
    }
    let mut writer = GgufWriter::new();
    writer.put("tokenizer.ggml.model", if sentence_piece { "llama" } else { "gpt2" });
    if bool::arbitrary(input)? {
        let pre = *input.choose(&["default", "llama-bpe", "qwen2", "gpt-2", "smollm", "none"])?;
        writer.put("tokenizer.ggml.pre", pre);
    }
    // Phi-3 strips white space behind special tokens.
    writer.put("general.name", if bool::arbitrary(input)? { "Phi-3" } else { "x" });
    for role in ["bos", "eos", "eot", "eom", "unknown", "padding"] {
        if input.ratio(1, 4)? {
            // What ends a text is never in it.
            normal &= !role.starts_with('e');
            let key = format!("tokenizer.ggml.{role}_token_id");
            writer.put(&key, interesting(input)? as u32);
        }
    }
    for flag in ["add_bos_token", "add_eos_token", "add_space_prefix"] {
        if input.ratio(1, 3)? {
            writer.put(&format!("tokenizer.ggml.{flag}"), bool::arbitrary(input)?);
        }
    }
    // An array that is one too short.
    if input.ratio(1, 32)? {
        made.kinds.pop();
    }
    writer.put_strings("tokenizer.ggml.tokens", &made.tokens);
    writer.put_i32s("tokenizer.ggml.token_type", &made.kinds);
    writer.put_f32s("tokenizer.ggml.scores", &made.scores);
    writer.put_strings("tokenizer.ggml.merges", &made.merges);
    Ok((writer.to_bytes(), normal))
}

#[derive(Default)]
struct Made {
    tokens: Vec<Vec<u8>>,
    kinds: Vec<i32>,
    scores: Vec<f32>,
    merges: Vec<Vec<u8>>,
}

impl Made {
    fn bytes() -> Self {
        let mut made = Self::default();
        alphabet().into_iter().for_each(|token| made.push(token.into_bytes(), 1, 0.0));
        made
    }

    fn sentence_piece() -> Self {
        let mut made = Self::default();
        made.push(b"<unk>".to_vec(), 2, 0.0);
        made.push(b"<s>".to_vec(), 3, 0.0);
        made.push(b"</s>".to_vec(), 3, 0.0);
        for byte in 0..=255 {
            made.push(format!("<0x{byte:02X}>").into_bytes(), 6, 0.0);
        }
        for piece in ["\u{2581}", "a", "b", "e", "h", "l", "o", " "] {
            made.push(piece.as_bytes().to_vec(), 1, -1.0);
        }
        made
    }

    fn push(&mut self, token: Vec<u8>, kind: i32, score: f32) {
        self.tokens.push(token);
        self.kinds.push(kind);
        self.scores.push(score);
    }

    /// Two tokens that there are, joined.
    fn joined(&self, input: &mut Unstructured) -> arbitrary::Result<Vec<u8>> {
        let Some(last) = self.tokens.len().checked_sub(1) else { return Ok(Vec::new()) };
        let (left, right) = (input.int_in_range(0..=last)?, input.int_in_range(0..=last)?);
        let mut token = [self.tokens[left].as_slice(), &self.tokens[right]].concat();
        token.truncate(1024);
        Ok(token)
    }

    /// The same, with its merge.
    fn merge(&mut self, input: &mut Unstructured) -> arbitrary::Result<Vec<u8>> {
        let Some(last) = self.tokens.len().checked_sub(1) else { return Ok(Vec::new()) };
        let (left, right) = (input.int_in_range(0..=last)?, input.int_in_range(0..=last)?);
        let (left, right) = (self.tokens[left].as_slice(), self.tokens[right].as_slice());
        let (merge, token) = ([left, b" ", right].concat(), [left, right].concat());
        if merge.len() <= 1024 {
            self.merges.push(merge);
        }
        Ok(token[..token.len().min(1024)].to_vec())
    }
}
