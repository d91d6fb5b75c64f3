//! Both algorithms on small vocabularies made here, against their plain definitions.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A vocabulary that owns its strings.
struct Made {
    tokens: Vec<Vec<u8>>,
    types: Vec<TokenType>,
    merges: Vec<Vec<u8>>,
    scores: Vec<f32>,
    pre: Option<Pre>,
    roles: Roles,
    space_prefix: bool,
}

impl Made {
    fn view(&self) -> Vocabulary<'_> {
        let tokens = self.tokens.iter().map(Vec::as_slice).collect();
        let merges = self.merges.iter().map(Vec::as_slice).collect();
        let algorithm = match self.pre {
            Some(pre) => Algorithm::ByteLevelBpe { pre, merges },
            None => Algorithm::SentencePiece { scores: self.scores.clone() },
        };
        Vocabulary {
            algorithm,
            tokens,
            types: self.types.clone(),
            roles: self.roles,
            add_bos: true,
            add_eos: false,
            add_space_prefix: self.space_prefix,
            rstrip_specials: false,
        }
    }

    fn push(&mut self, token: &str, kind: TokenType, score: f32) -> u32 {
        self.tokens.push(token.as_bytes().to_vec());
        self.types.push(kind);
        self.scores.push(score);
        self.tokens.len() as u32 - 1
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::new(&self.view()).unwrap()
    }

    fn error(&self) -> TokenizerError {
        Tokenizer::new(&self.view()).err().unwrap()
    }
}

/// Byte-level BPE: 256 bytes, nine merges, two control tokens and a user-defined one.
fn byte_level(pre: Pre) -> Made {
    let mut made = Made {
        tokens: Vec::new(),
        types: Vec::new(),
        merges: Vec::new(),
        scores: Vec::new(),
        pre: Some(pre),
        roles: Roles::default(),
        space_prefix: false,
    };
    let mut alphabet: Vec<(u8, char)> =
        ('\0'..='\u{143}').filter_map(|c| Some((bpe::byte_of(c)?, c))).collect();
    alphabet.sort_unstable();
    for (_, c) in alphabet {
        made.push(&c.to_string(), TokenType::Normal, 0.0);
    }
    for merge in ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld"] {
        made.push(&merge.replace(' ', ""), TokenType::Normal, 0.0);
        made.merges.push(merge.as_bytes().to_vec());
    }
    made.roles.bos = Some(made.push("<|begin|>", TokenType::Control, 0.0));
    made.roles.eos = Some(made.push("<|im_end|>", TokenType::Control, 0.0));
    made.push("<tool>", TokenType::UserDefined, 0.0);
    made
}

/// SentencePiece: `<unk> <s> </s>`, 256 bytes, characters and a few longer pieces.
fn sentence_piece(space_prefix: bool) -> Made {
    let mut made = Made {
        tokens: Vec::new(),
        types: Vec::new(),
        merges: Vec::new(),
        scores: Vec::new(),
        pre: None,
        roles: Roles { bos: Some(1), eos: Some(2), unknown: Some(0), ..Roles::default() },
        space_prefix,
    };
    made.push("<unk>", TokenType::Unknown, 0.0);
    made.push("<s>", TokenType::Control, 0.0);
    made.push("</s>", TokenType::Control, 0.0);
    for byte in 0..=255 {
        made.push(&format!("<0x{byte:02X}>"), TokenType::Byte, 0.0);
    }
    for c in "▁abcdehllo".chars() {
        if !made.tokens.contains(&c.to_string().into_bytes()) {
            made.push(&c.to_string(), TokenType::Normal, -100.0);
        }
    }
    for (token, score) in [
        ("▁▁", -1.0),
        ("ab", -2.0),
        ("bc", -3.0),
        ("abc", -8.0),
        ("▁a", -4.0),
        ("▁abc", -9.0),
        ("ll", -5.0),
        ("▁h", -6.0),
        ("▁he", -7.0),
        ("llo", -10.0),
        ("c▁d", -0.5),
        ("▁d", -1.5),
    ] {
        made.push(token, TokenType::Normal, score);
    }
    made
}

const PLAIN: Special = Special { add: false, parse: false };
const PARSE: Special = Special { add: false, parse: true };

#[test]
fn byte_level_merges_in_order_of_rank() {
    let tokenizer = byte_level(Pre::Gpt2).tokenizer();
    let hello = tokenizer.encode("hello", PLAIN);
    assert_eq!(hello, [259], "he ll → hell → hello");
    assert_eq!(tokenizer.encode("hello world", PLAIN), [259, 264]);
    assert_eq!(tokenizer.encode("held", PLAIN), [256, 263]);
    assert_eq!(tokenizer.encode("\0é", PLAIN), [0, 0xc3, 0xa9]);
    assert_eq!(tokenizer.piece(264), b" world");
    assert_eq!(tokenizer.encode("", PLAIN), [0u32; 0]);
}

#[test]
fn sentence_piece_merges_the_highest_score_first() {
    let made = sentence_piece(true);
    let tokenizer = made.tokenizer();
    let id = |piece: &str| made.tokens.iter().position(|t| t == piece.as_bytes()).unwrap() as u32;
    // "ab" (-2) goes before "bc" (-3), then "▁a" is no pair any more.
    assert_eq!(tokenizer.encode("abc", PLAIN), [id("▁abc")]);
    assert_eq!(tokenizer.encode("bc", PLAIN), [id("▁"), id("bc")]);
    // A piece that holds a space after a letter: the text is not cut there.
    assert_eq!(tokenizer.encode("c d", PLAIN), [id("▁"), id("c▁d")]);
    assert_eq!(tokenizer.encode("d d", PLAIN), [id("▁d"), id("▁d")]);
    assert_eq!(tokenizer.encode("é", PLAIN), [id("▁"), 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("  c dé", PLAIN)), "  c dé".as_bytes());
    let bare = sentence_piece(false).tokenizer();
    assert_eq!(bare.encode("abc", PLAIN), [id("abc")]);
    assert_eq!(bare.decode(&[id("▁abc")]), b" abc");
}

#[test]
fn bos_is_added_and_control_tokens_are_parsed_only_on_request() {
    let made = byte_level(Pre::Qwen2);
    let tokenizer = made.tokenizer();
    let (bos, eos, tool) = (265, 266, 267);
    assert_eq!(tokenizer.encode("hello", Special { add: true, parse: false }), [bos, 259]);
    assert_eq!(tokenizer.encode("<|im_end|>hello<|im_end|>", PARSE), [eos, 259, eos]);
    let plain = tokenizer.encode("<|im_end|>", PLAIN);
    assert!(!plain.contains(&eos), "a user's text cannot end the turn: {plain:?}");
    assert_eq!(tokenizer.decode(&plain), b"<|im_end|>");
    assert_eq!(tokenizer.encode("<tool>", PLAIN), [tool], "user-defined ones always");
    assert!(tokenizer.is_end(eos) && !tokenizer.is_end(bos) && !tokenizer.is_end(9999));
    assert_eq!(tokenizer.decode(&[bos, 259, tool, eos, 9999]), b"hello<tool>");
    assert_eq!(tokenizer.special_id("<|im_end|>"), Some(eos));
    assert_eq!(tokenizer.special_id("hello"), None);
}

#[test]
fn a_text_after_a_special_token_gets_a_space_and_loses_it_again() {
    let made = sentence_piece(true);
    let tokenizer = made.tokenizer();
    let ids = tokenizer.encode("abc</s>abc", PARSE);
    let abc = ids[0];
    assert_eq!(ids, [abc, 2, abc]);
    assert_eq!(tokenizer.decode(&ids), b"abcabc");
    let mut continued = tokenizer.stream(true);
    assert_eq!(continued.push(abc), " abc");
}

#[test]
fn vocabularies_that_are_not_right_are_refused() {
    let change = |change: fn(&mut Made)| {
        let mut made = byte_level(Pre::Gpt2);
        change(&mut made);
        made.error()
    };
    let change_spm = |change: fn(&mut Made)| {
        let mut made = sentence_piece(true);
        change(&mut made);
        made.error()
    };
    let merge = change(|made| made.merges[3] = b"hello".to_vec());
    assert_eq!(merge, TokenizerError::Merge { index: 3 });
    let merge = change(|made| made.merges[8] = b"h e l".to_vec());
    assert_eq!(merge, TokenizerError::Merge { index: 8 });
    let merge = change(|made| made.merges[1] = b"z z".to_vec());
    assert_eq!(merge, TokenizerError::Merge { index: 1 }, "the concatenation is no token");
    let types = change(|made| {
        made.types.pop();
    });
    assert!(matches!(types, TokenizerError::Length { found: 267, expected: 268, .. }));
    let role = change(|made| made.roles.eos = Some(268));
    assert_eq!(role, TokenizerError::RoleOutOfRange { role: "eos", id: 268, tokens: 268 });
    let role = change(|made| made.roles.bos = None);
    assert_eq!(role, TokenizerError::MissingRole { role: "bos" });
    let long = change(|made| made.tokens[7] = vec![b'x'; 1025]);
    assert_eq!(long, TokenizerError::TokenTooLong { id: 7, bytes: 1025, max: 1024 });
    let none = change(|made| made.tokens.clear());
    assert_eq!(none, TokenizerError::VocabularySize { found: 0, max: MAX_TOKENS });
    let score = change_spm(|made| made.scores[260] = f32::NAN);
    assert_eq!(score, TokenizerError::Score { id: 260 });
    let byte = change_spm(|made| made.tokens[4] = b"<0x0a>".to_vec());
    assert_eq!(byte, TokenizerError::ByteToken { id: 4 }, "lower case");
    let byte = change_spm(|made| made.tokens[4] = b"<0x00>".to_vec());
    assert_eq!(byte, TokenizerError::ByteToken { id: 4 }, "a second zero");
    let byte = change_spm(|made| made.types[4] = TokenType::Normal);
    assert_eq!(byte, TokenizerError::ByteTokens { found: 255 });
    let fallback = change_spm(|made| {
        made.types[3..259].fill(TokenType::Normal);
        made.roles.unknown = None;
    });
    assert_eq!(fallback, TokenizerError::NoFallback);
}

#[test]
fn of_duplicate_tokens_the_first_wins() {
    let mut made = byte_level(Pre::Gpt2);
    made.push("hello", TokenType::Normal, 0.0);
    made.push("", TokenType::Normal, 0.0);
    let tokenizer = made.tokenizer();
    assert_eq!(tokenizer.encode("hello", PLAIN), [259]);
}

#[test]
fn missing_bytes_are_left_out_and_unknown_characters_are_unknown() {
    let mut made = byte_level(Pre::Gpt2);
    made.types[b'z' as usize] = TokenType::Control;
    assert_eq!(made.tokenizer().encode("zaz", PLAIN), [u32::from(b'a')]);
    let mut made = sentence_piece(false);
    made.types[3..259].fill(TokenType::Unused);
    assert_eq!(made.tokenizer().encode("é", PLAIN), [0]);
}

#[test]
fn long_words_take_no_quadratic_time() {
    let start = std::time::Instant::now();
    let spaces = " ".repeat(1 << 20);
    for pre in [Pre::Gpt2, Pre::Llama3, Pre::DeepseekLlm, Pre::DeepseekCoder, Pre::Default] {
        let tokenizer = byte_level(pre).tokenizer();
        for text in ["l".repeat(1 << 20), format!("{spaces}語"), format!("a{spaces}\n{spaces}b")] {
            let ids = tokenizer.encode(&text, PARSE);
            assert_eq!(tokenizer.decode(&ids), text.as_bytes());
        }
    }
    let tokenizer = sentence_piece(true).tokenizer();
    for text in ["ab".repeat(1 << 19), spaces, "c d".repeat(1 << 18)] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text, PARSE)), text.as_bytes());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// Merges the best pair anywhere, the leftmost of equals, until there is none.
fn merge_plainly(
    mut symbols: Vec<Vec<u8>>,
    rank: impl Fn(&[u8], &[u8]) -> Option<f32>,
) -> Vec<Vec<u8>> {
    loop {
        let mut best: Option<(f32, usize)> = None;
        for at in 1..symbols.len() {
            if let Some(found) = rank(&symbols[at - 1], &symbols[at])
                && best.is_none_or(|(rank, _)| found < rank)
            {
                best = Some((found, at - 1));
            }
        }
        let Some((_, at)) = best else { return symbols };
        let right = symbols.remove(at + 1);
        symbols[at].extend(right);
    }
}

proptest! {
    #[test]
    fn byte_level_agrees_with_the_definition(text in "[hel owrd]{0,24}") {
        let made = byte_level(Pre::Gpt2);
        let tokenizer = made.tokenizer();
        let ranks: HashMap<(Vec<u8>, Vec<u8>), usize> = made
            .merges
            .iter()
            .enumerate()
            .map(|(rank, merge)| {
                let mut parts = merge.split(|&byte| byte == b' ');
                let mut part = || bpe::bytes_of(parts.next().unwrap()).unwrap();
                ((part(), part()), rank)
            })
            .collect();
        let mut plain = Vec::new();
        Pre::Gpt2.split(&text, &mut |word| {
            let bytes = word.bytes().map(|byte| vec![byte]).collect();
            plain.extend(merge_plainly(bytes, |left, right| {
                ranks.get(&(left.to_vec(), right.to_vec())).map(|&rank| rank as f32)
            }));
        });
        let ids = tokenizer.encode(&text, PLAIN);
        let pieces: Vec<Vec<u8>> = ids.iter().map(|&id| tokenizer.piece(id).to_vec()).collect();
        prop_assert_eq!(pieces, plain);
    }

    #[test]
    fn sentence_piece_agrees_with_the_definition(text in "[abcdhlo  ]{0,24}") {
        let made = sentence_piece(true);
        let tokenizer = made.tokenizer();
        let scores: HashMap<Vec<u8>, f32> =
            made.tokens.iter().cloned().zip(made.scores.iter().copied()).skip(259).collect();
        let escaped = format!(" {text}").replace(' ', "▁");
        let plain = match text.is_empty() {
            true => Vec::new(),
            false => {
                let chars = escaped.chars().map(|c| c.to_string().into_bytes()).collect();
                merge_plainly(chars, |left, right| {
                    scores.get(&[left, right].concat()).map(|score| -score)
                })
            }
        };
        let ids = tokenizer.encode(&text, PLAIN);
        let pieces: Vec<Vec<u8>> =
            ids.iter().map(|&id| made.tokens[id as usize].clone()).collect();
        prop_assert_eq!(pieces, plain);
    }

    #[test]
    fn any_text_survives_the_round_trip(text in any::<String>(), more in "[a-e <s>/<tol>\n ]*") {
        let text = text + &more;
        for (_, pre) in Pre::NAMES {
            let tokenizer = byte_level(pre).tokenizer();
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, PLAIN)), text.as_bytes());
        }
        // SentencePiece writes a space as U+2581 and cannot tell the two apart.
        let text = text.replace('▁', "_");
        for prefix in [true, false] {
            let tokenizer = sentence_piece(prefix).tokenizer();
            let ids = tokenizer.encode(&text, PLAIN);
            prop_assert_eq!(tokenizer.decode(&ids), text.as_bytes());
            let mut stream = tokenizer.stream(false);
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            prop_assert_eq!(&streamed, &text);
        }
    }

    #[test]
    fn any_ids_decode_to_what_they_stream_to(ids in prop::collection::vec(0u32..300, 0..40)) {
        for tokenizer in [byte_level(Pre::Gpt2).tokenizer(), sentence_piece(true).tokenizer()] {
            let whole = tokenizer.decode(&ids);
            let mut stream = tokenizer.stream(false);
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            prop_assert_eq!(streamed, String::from_utf8_lossy(&whole).into_owned());
        }
    }

    #[test]
    fn any_vocabulary_is_read_or_refused(
        tokens in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..40),
        kinds in prop::collection::vec(0i32..7, 40),
        merges in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..4),
        spm in any::<bool>(),
        text in "\\PC{0,20}",
    ) {
        let mut made = byte_level(Pre::Default);
        made.types = kinds[..tokens.len()]
            .iter()
            .map(|&kind| TokenType::from_gguf(kind).unwrap())
            .collect();
        made.scores = vec![0.0; tokens.len()];
        made.tokens = tokens;
        made.merges = if made.tokens.len().is_multiple_of(2) { Vec::new() } else { merges };
        made.pre = made.pre.filter(|_| !spm);
        made.roles = Roles { bos: Some(0), unknown: Some(0), ..Roles::default() };
        if let Ok(tokenizer) = Tokenizer::new(&made.view()) {
            let ids = tokenizer.encode(&text, PARSE);
            prop_assert!(ids.iter().all(|&id| tokenizer.token_type(id).is_some()));
            tokenizer.decode(&ids);
        }
    }
}
