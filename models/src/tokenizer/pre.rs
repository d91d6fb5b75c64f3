//! Pre-tokenizers: how text is cut into words before byte-pair merges.
//!
//! A model's training fixed this as one or more regular expressions. Each is known by the name that
//! GGUF files carry in `tokenizer.ggml.pre`; the expressions are compiled in as small hand-written
//! matchers (a pattern from a file would be a way to hang us), in llama.cpp's readings: several
//! stages cut one after another, each inside the pieces of the one before, and what a stage does
//! not match stays as a piece.

use self::Stage::{Each, TrailingSpace};
use super::classes::{Classes, LETTER, NUMBER, PUNCTUATION, SPACE};

/// A pre-tokenizer, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pre {
    /// GGUF's "default": punctuation, GPT-2 words, runs of digits, digits by three.
    Default,
    /// GPT-2's words (also MPT).
    Gpt2,
    /// Each digit alone, then GPT-2's words (StarCoder, Refact, SmolLM).
    DigitsThenGpt2,
    /// Llama 3: words with one leading non-letter, digits by up to three.
    Llama3,
    /// Qwen 2 and 3: as Llama 3, each digit alone.
    Qwen2,
    /// Falcon: punctuation, GPT-2's words, digits by exactly three.
    Falcon,
    /// DeepSeek LLM: lines, cased letters, ASCII and full-width punctuation, CJK, numbers.
    DeepseekLlm,
    /// DeepSeek Coder: lines, letters, punctuation, CJK, each digit alone.
    DeepseekCoder,
}

impl Pre {
    /// The names this build knows, as `tokenizer.ggml.pre` spells them.
    pub const NAMES: [(&'static str, Pre); 14] = [
        ("default", Pre::Default),
        ("gpt-2", Pre::Gpt2),
        ("mpt", Pre::Gpt2),
        ("smollm", Pre::DigitsThenGpt2),
        ("starcoder", Pre::DigitsThenGpt2),
        ("refact", Pre::DigitsThenGpt2),
        ("llama-bpe", Pre::Llama3),
        ("llama3", Pre::Llama3),
        ("llama-v3", Pre::Llama3),
        ("qwen2", Pre::Qwen2),
        ("deepseek-r1-qwen", Pre::Qwen2),
        ("falcon", Pre::Falcon),
        ("deepseek-llm", Pre::DeepseekLlm),
        ("deepseek-coder", Pre::DeepseekCoder),
    ];

    /// The pre-tokenizer called `name` in GGUF files.
    pub fn from_name(name: &str) -> Option<Pre> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, pre)| pre)
    }

    /// Whether a word that is a token is taken whole, whatever the merges say (Llama 3).
    pub(super) fn takes_whole_words(self) -> bool {
        self == Pre::Llama3
    }

    /// Whether BOS is added when the file does not say.
    pub(super) fn adds_bos(self) -> bool {
        self == Pre::Llama3
    }

    fn stages(self) -> &'static [Stage] {
        match self {
            Pre::Default => &[
                Each(|s, k| run(s, 0, |c| k.of(c) & PUNCTUATION != 0 || "$+<=>^~|".contains(c))),
                Each(gpt2),
                Each(|s, k| run(s, 0, |c| k.of(c) & NUMBER != 0)),
                Each(three_digits),
            ],
            Pre::Gpt2 => &[Each(gpt2)],
            Pre::DigitsThenGpt2 => &[Each(number), Each(gpt2)],
            Pre::Llama3 => &[Each(|s, k| llama3(s, k, 3))],
            Pre::Qwen2 => &[Each(|s, k| llama3(s, k, 1))],
            Pre::Falcon => &[
                Each(|s, k| run(s, 0, |c| k.of(c) & PUNCTUATION != 0 || "$+<=>^~|`".contains(c))),
                Each(gpt2),
                Each(three_digits),
            ],
            Pre::DeepseekLlm => &[
                Each(line_break),
                Each(|s, k| space_then(s, k, |c| in_ranges(&CASED, c))),
                Each(|s, k| space_then(s, k, deepseek_punctuation)),
                TrailingSpace,
                Each(|s, k| run(s, 0, |c| cjk(c, k))),
                Each(|s, k| run(s, 0, |c| k.of(c) & NUMBER != 0)),
            ],
            Pre::DeepseekCoder => &[
                Each(line_break),
                Each(|s, k| space_then(s, k, |c| k.of(c) & LETTER != 0)),
                Each(|s, k| space_then(s, k, |c| k.of(c) & PUNCTUATION != 0)),
                Each(|s, k| run(s, 0, |c| cjk(c, k))),
                Each(number),
            ],
        }
    }

    /// Calls `emit` with each word of `text`, in order; the words joined are the text.
    pub(super) fn split<'t>(self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        cut(self.stages(), Classes::get(), text, emit);
    }
}

/// One expression of a pre-tokenizer.
enum Stage {
    /// Matches wherever it can; gives the length in bytes of the match at the start, or 0.
    Each(fn(&str, &Classes) -> usize),
    /// `\s+$`: looked for from the end, so that long white space is not scanned over and over.
    TrailingSpace,
}

fn cut<'t>(stages: &[Stage], classes: &Classes, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let Some((stage, rest)) = stages.split_first() else {
        if !text.is_empty() {
            emit(text);
        }
        return;
    };
    let matches = match stage {
        Each(matches) => matches,
        TrailingSpace => {
            let (head, tail) = text.split_at(text.trim_end().len());
            cut(rest, classes, head, emit);
            return cut(rest, classes, tail, emit);
        }
    };
    let (mut gap, mut at) = (0, 0);
    while at < text.len() {
        let length = matches(&text[at..], classes);
        if length == 0 {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        cut(rest, classes, &text[gap..at], emit);
        cut(rest, classes, &text[at..at + length], emit);
        at += length;
        gap = at;
    }
    cut(rest, classes, &text[gap..at], emit);
}

/// End of the run of characters that satisfy `belongs`, from byte `start` on.
#[inline]
fn run(s: &str, start: usize, belongs: impl Fn(char) -> bool) -> usize {
    let rest = &s[start..];
    start + rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

/// `'s|'t|'re|'ve|'m|'ll|'d` at the start of `s`, which starts with an apostrophe.
fn contraction(s: &str, fold_case: bool) -> usize {
    let lower = |byte: u8| if fold_case { byte.to_ascii_lowercase() } else { byte };
    match s.as_bytes() {
        [_, a, ..] if matches!(lower(*a), b's' | b't' | b'm' | b'd') => 2,
        [_, a, b, ..] if matches!(&[lower(*a), lower(*b)], b"re" | b"ve" | b"ll") => 3,
        _ => 0,
    }
}

/// `\s+(?!\S)|\s+` at the start of `s`: white space, but for the last of several before a word.
fn spaces(s: &str, k: &Classes) -> usize {
    let end = run(s, 0, |c| k.of(c) & SPACE != 0);
    if end == s.len() {
        return end;
    }
    let last = s[..end].chars().next_back().map_or(0, char::len_utf8);
    if end > last { end - last } else { end }
}

/// `'s|…| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(s: &str, k: &Classes) -> usize {
    if s.starts_with('\'') {
        let length = contraction(s, false);
        if length > 0 {
            return length;
        }
    }
    let space = usize::from(s.starts_with(' '));
    let Some(c) = s[space..].chars().next() else { return s.len() };
    match k.of(c) & (LETTER | NUMBER | SPACE) {
        SPACE => spaces(s, k),
        0 => run(s, space, |c| k.of(c) & (LETTER | NUMBER | SPACE) == 0),
        class => run(s, space, |c| k.of(c) & class != 0),
    }
}

/// `(?i:'s|…)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|`
/// `\s+(?!\S)|\s+`
fn llama3(s: &str, k: &Classes, digits: usize) -> usize {
    if s.starts_with('\'') {
        let length = contraction(s, true);
        if length > 0 {
            return length;
        }
    }
    let mut chars = s.chars();
    let Some(first) = chars.next() else { return 0 };
    let (class, second) = (k.of(first), chars.next());
    let letter = |c: char| k.of(c) & LETTER != 0;
    if letter(first) {
        return run(s, 0, letter);
    }
    if class & NUMBER != 0 {
        let run = s.chars().take(digits).take_while(|&c| k.of(c) & NUMBER != 0);
        return run.map(char::len_utf8).sum();
    }
    if !matches!(first, '\r' | '\n') && second.is_some_and(letter) {
        return run(s, first.len_utf8(), letter);
    }
    let symbol = |c: char| k.of(c) & (LETTER | NUMBER | SPACE) == 0;
    let space = usize::from(first == ' ');
    let end = run(s, space, symbol);
    if end > space {
        return run(s, end, |c| matches!(c, '\r' | '\n'));
    }
    let end = run(s, 0, |c| k.of(c) & SPACE != 0);
    match s[..end].rfind(['\r', '\n']) {
        Some(last_break) => last_break + 1,
        None => spaces(s, k),
    }
}

/// `\p{N}`
fn number(s: &str, k: &Classes) -> usize {
    s.chars().next().filter(|&c| k.of(c) & NUMBER != 0).map_or(0, char::len_utf8)
}

/// `[0-9][0-9][0-9]`
fn three_digits(s: &str, _: &Classes) -> usize {
    match s.as_bytes().first_chunk::<3>() {
        Some(three) if three.iter().all(u8::is_ascii_digit) => 3,
        _ => 0,
    }
}

/// `[\r\n]`
fn line_break(s: &str, _: &Classes) -> usize {
    usize::from(s.starts_with(['\r', '\n']))
}

/// `\s?[belongs]+`
fn space_then(s: &str, k: &Classes, belongs: impl Fn(char) -> bool) -> usize {
    let first = s.chars().next().filter(|&c| k.of(c) & SPACE != 0);
    let start = first.map_or(0, char::len_utf8);
    let end = run(s, start, belongs);
    if end > start { end } else { 0 }
}

/// DeepSeek's CJK and Hangul ranges. White space inside them is none of theirs: llama.cpp folds it
/// to one control character before matching.
fn cjk(c: char, k: &Classes) -> bool {
    matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}') && k.of(c) & SPACE == 0
}

/// DeepSeek LLM's punctuation: ASCII but digits, full-width forms, curly quotes, CJK stops.
fn deepseek_punctuation(c: char) -> bool {
    matches!(
        c,
        '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3001}'..='\u{3002}'
    )
}

fn in_ranges(ranges: &[(u32, u32)], c: char) -> bool {
    let code = c as u32;
    let after = ranges.partition_point(|&(first, _)| first <= code);
    after > 0 && code <= ranges[after - 1].1
}

/// DeepSeek LLM's letters: the cased ones of the Unicode version its makers used.
#[rustfmt::skip]
const CASED: [(u32, u32); 87] = [
    (0x41, 0x5a), (0x61, 0x7a), (0xb5, 0xb5), (0xc0, 0xd6), (0xd8, 0xf6), (0xf8, 0x1ba),
    (0x1bc, 0x1bf), (0x1c4, 0x293), (0x295, 0x2af), (0x370, 0x373), (0x376, 0x376), (0x377, 0x377),
    (0x37b, 0x37d), (0x37f, 0x37f), (0x386, 0x386), (0x388, 0x38a), (0x38c, 0x38c), (0x38e, 0x3a1),
    (0x3a3, 0x3f5), (0x3f7, 0x481), (0x48a, 0x52f), (0x531, 0x556), (0x10a0, 0x10c5),
    (0x13a0, 0x13f5), (0x13f8, 0x13fd), (0x1c90, 0x1cba), (0x1cbd, 0x1cbf), (0x1d00, 0x1d2b),
    (0x1d6b, 0x1d77), (0x1d79, 0x1d9a), (0x1e00, 0x1f15), (0x1f18, 0x1f1d), (0x1f20, 0x1f45),
    (0x1f48, 0x1f4d), (0x1f50, 0x1f57), (0x1f59, 0x1f59), (0x1f5b, 0x1f5b), (0x1f5d, 0x1f5d),
    (0x1f5f, 0x1f7d), (0x1f80, 0x1fb4), (0x1fb6, 0x1fbc), (0x1fbe, 0x1fbe), (0x1fc2, 0x1fc4),
    (0x1fc6, 0x1fcc), (0x1fd0, 0x1fd3), (0x1fd6, 0x1fdb), (0x1fe0, 0x1fec), (0x1ff2, 0x1ff4),
    (0x1ff6, 0x1ffc), (0x2102, 0x2102), (0x2107, 0x2107), (0x210a, 0x2113), (0x2115, 0x2115),
    (0x2119, 0x211d), (0x2124, 0x2124), (0x2126, 0x2126), (0x2128, 0x2128), (0x212a, 0x212d),
    (0x212f, 0x2134), (0x2139, 0x2139), (0x213c, 0x213f), (0x2145, 0x2149), (0x214e, 0x214e),
    (0x2183, 0x2183), (0x2184, 0x2184), (0x2c00, 0x2c7b), (0x2c7e, 0x2ce4), (0x2ceb, 0x2cee),
    (0x2cf2, 0x2cf2), (0x2cf3, 0x2cf3), (0xa640, 0xa66d), (0xa680, 0xa69b), (0xa722, 0xa76f),
    (0xa771, 0xa787), (0xa78b, 0xa78e), (0xab70, 0xabbf), (0xfb00, 0xfb06), (0xfb13, 0xfb17),
    (0xff21, 0xff3a), (0xff41, 0xff5a), (0x10400, 0x1044f), (0x104b0, 0x104d3), (0x104d8, 0x104fb),
    (0x10c80, 0x10cb2), (0x10cc0, 0x10cf2), (0x118a0, 0x118df), (0x1e900, 0x1e943),];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(pre: Pre, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        pre.split(text, &mut |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn gpt2_keeps_one_space_before_a_word() {
        let found = words(Pre::Gpt2, "I'll  take\t2 apples!\n\n ");
        assert_eq!(found, ["I", "'ll", " ", " take", "\t", "2", " apples", "!", "\n\n "]);
    }

    #[test]
    fn digits_by_one_by_three_and_in_runs() {
        assert_eq!(words(Pre::Qwen2, "a 1234"), ["a", " ", "1", "2", "3", "4"]);
        assert_eq!(words(Pre::Llama3, "a 1234"), ["a", " ", "123", "4"]);
        assert_eq!(words(Pre::Gpt2, "a 1234"), ["a", " 1234"]);
        assert_eq!(words(Pre::Falcon, "a 1234567"), ["a", " ", "123", "456", "7"]);
        assert_eq!(words(Pre::DigitsThenGpt2, "a 12"), ["a", " ", "1", "2"]);
    }

    #[test]
    fn llama3_joins_line_breaks_and_one_leading_symbol() {
        let found = words(Pre::Llama3, "(Hi) HE'LL go…\n\n\n  x\n");
        assert_eq!(found, ["(Hi", ")", " HE", "'LL", " go", "…\n\n\n", " ", " x", "\n"]);
    }

    #[test]
    fn letters_of_deepseek_are_the_cased_ones() {
        assert!(in_ranges(&CASED, 'a') && in_ranges(&CASED, 'ß') && in_ranges(&CASED, 'Ж'));
        assert!(!in_ranges(&CASED, '@') && !in_ranges(&CASED, 'ª') && !in_ranges(&CASED, '語'));
        assert!(CASED.windows(2).all(|w| w[0].1 < w[1].0), "sorted and apart");
    }

    proptest! {
        #[test]
        fn words_joined_are_the_text(text in "\\PC*|[ \t\r\n'a-z0-9!é語\u{3000}]*") {
            for (name, pre) in Pre::NAMES {
                let found = words(pre, &text);
                prop_assert_eq!(found.concat(), text.clone(), "{}", name);
                prop_assert!(found.iter().all(|word| !word.is_empty()), "{}", name);
            }
        }
    }
}
