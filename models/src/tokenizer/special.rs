//! Tokens that are found in the text itself, before any splitting: control tokens (only on
//! request) and user-defined ones (always).
//!
//! The order is llama.cpp's: longer tokens are placed first over the whole text, then shorter ones
//! in what is left; of one token the leftmost occurrence first.

use super::TokenizerError;

/// More special tokens than this that begin with one another are refused: it bounds the number of
/// candidates per byte of text. (Gemma's runs of line breaks need 31.)
const MAX_NESTING: usize = 64;

/// What the text is cut into.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

/// One special token.
pub(super) struct Special {
    pub(super) text: Vec<u8>,
    pub(super) id: u32,
    /// Found only when special tokens are to be parsed.
    pub(super) on_request: bool,
    /// Swallows the white space after it (Phi-3).
    pub(super) rstrip: bool,
}

/// The special tokens of a vocabulary, sorted by text.
pub(super) struct Specials {
    sorted: Vec<Special>,
    /// For each first byte, the range of `sorted` that begins with it.
    by_first: Vec<(u32, u32)>,
}

impl Specials {
    pub(super) fn new(mut sorted: Vec<Special>) -> Result<Self, TokenizerError> {
        sorted.retain(|special| !special.text.is_empty());
        sorted.sort_by(|a, b| a.text.cmp(&b.text).then(a.id.cmp(&b.id)));
        sorted.dedup_by(|later, first| later.text == first.text);
        let mut open: Vec<usize> = Vec::new();
        for (index, special) in sorted.iter().enumerate() {
            while open.last().is_some_and(|&o| !special.text.starts_with(&sorted[o].text)) {
                open.pop();
            }
            open.push(index);
            if open.len() > MAX_NESTING {
                return Err(TokenizerError::SpecialsNest { id: special.id, max: MAX_NESTING });
            }
        }
        let by_first = (0..=255u8).map(|byte| {
            let start = sorted.partition_point(|special| special.text[0] < byte);
            let end = sorted.partition_point(|special| special.text[0] <= byte);
            (start as u32, end as u32)
        });
        let by_first = by_first.collect();
        Ok(Self { sorted, by_first })
    }

    /// Cuts `text` at its special tokens; those found only on request are left when `!parse`.
    pub(super) fn cut<'t>(&self, text: &'t str, parse: bool) -> Vec<Fragment<'t>> {
        let found = self.placed(text, parse);
        let mut fragments = Vec::with_capacity(2 * found.len() + 1);
        let mut at = 0;
        for (start, index) in found {
            let special = &self.sorted[index as usize];
            if at < start {
                fragments.push(Fragment::Text(&text[at..start]));
            }
            fragments.push(Fragment::Token(special.id));
            at = start + special.text.len();
            if special.rstrip {
                let rest = text[at..].trim_start_matches(is_c_space);
                at = text.len() - rest.len();
            }
        }
        if at < text.len() {
            fragments.push(Fragment::Text(&text[at..]));
        }
        fragments
    }

    /// The special token that is spelled `text`.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let at = self.sorted.binary_search_by(|special| special.text.as_slice().cmp(text)).ok()?;
        Some(self.sorted[at].id)
    }

    /// Where special tokens stand in the end: (start, index into `sorted`), by start.
    fn placed(&self, text: &str, parse: bool) -> Vec<(usize, u32)> {
        let bytes = text.as_bytes();
        let mut found: Vec<(usize, u32)> = Vec::new();
        for (start, &byte) in bytes.iter().enumerate() {
            let (low, high) = self.by_first[byte as usize];
            if low < high && text.is_char_boundary(start) {
                self.matches_at(&bytes[start..], low..high, |index| {
                    let special = &self.sorted[index as usize];
                    let end = start + special.text.len();
                    if (parse || !special.on_request) && text.is_char_boundary(end) {
                        found.push((start, index));
                    }
                });
            }
        }
        let overlapping = found.windows(2).any(|pair| self.end(pair[0]) > pair[1].0);
        let strips = found.iter().any(|&(_, index)| self.sorted[index as usize].rstrip);
        if overlapping || strips { self.longest_first(found, text) } else { found }
    }

    /// Calls `hit` with each special token of `range` that `rest` begins with, shortest first.
    fn matches_at(&self, rest: &[u8], range: std::ops::Range<u32>, mut hit: impl FnMut(u32)) {
        let (mut low, mut high) = (range.start as usize, range.end as usize);
        let mut depth = 1;
        // `low..high` are the tokens that share the first `depth` bytes of `rest`; the shortest of
        // them comes first.
        while low < high {
            if self.sorted[low].text.len() == depth {
                hit(low as u32);
                low += 1;
            }
            let Some(&next) = rest.get(depth) else { return };
            let within = &self.sorted[low..high];
            let start = within.partition_point(|special| special.text[depth] < next);
            let end = within.partition_point(|special| special.text[depth] <= next);
            (low, high) = (low + start, low + end);
            depth += 1;
        }
    }

    fn end(&self, (start, index): (usize, u32)) -> usize {
        start + self.sorted[index as usize].text.len()
    }

    /// Keeps, longest token first, those that no kept one overlaps or strips.
    fn longest_first(&self, mut found: Vec<(usize, u32)>, text: &str) -> Vec<(usize, u32)> {
        found.sort_by_key(|&(start, index)| {
            let special = &self.sorted[index as usize];
            (std::cmp::Reverse(special.text.len()), special.id, start)
        });
        let mut taken = std::collections::BTreeMap::<usize, (usize, u32)>::new();
        for (start, index) in found {
            let mut end = self.end((start, index));
            let free_before = taken.range(..end).next_back().is_none_or(|(_, t)| t.0 <= start);
            if !free_before {
                continue;
            }
            if self.sorted[index as usize].rstrip {
                let next = taken.range(end..).next().map_or(text.len(), |(&start, _)| start);
                let rest = text[end..next].trim_start_matches(is_c_space);
                end = next - rest.len();
            }
            taken.insert(start, (end, index));
        }
        taken.into_iter().map(|(start, (_, index))| (start, index)).collect()
    }
}

/// C's `isspace` in the C locale.
fn is_c_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::Fragment::{Text, Token};
    use super::*;

    fn specials(list: &[(&str, u32, bool, bool)]) -> Specials {
        let list = list.iter().map(|&(text, id, on_request, rstrip)| {
            let text = text.as_bytes().to_vec();
            Special { text, id, on_request, rstrip }
        });
        Specials::new(list.collect()).unwrap()
    }

    #[test]
    fn control_tokens_only_on_request() {
        let specials = specials(&[("<a>", 1, true, false), ("<u>", 2, false, false)]);
        let text = "x<a>y<u><u>";
        assert_eq!(specials.cut(text, false), [Text("x<a>y"), Token(2), Token(2)]);
        let all = [Text("x"), Token(1), Text("y"), Token(2), Token(2)];
        assert_eq!(specials.cut(text, true), all);
    }

    #[test]
    fn the_longer_token_goes_first_wherever_it_starts() {
        let specials = specials(&[("ab", 1, true, false), ("bcd", 2, true, false)]);
        assert_eq!(specials.cut("abcdab", true), [Text("a"), Token(2), Token(1)]);
        let nested = [("\n", 1, true, false), ("\n\n", 2, true, false)];
        let nested = self::specials(&nested);
        assert_eq!(nested.cut("\n\n\n", true), [Token(2), Token(1)]);
    }

    #[test]
    fn rstrip_swallows_white_space_but_no_token() {
        let specials = specials(&[("<a>", 1, true, true), ("  ", 2, true, false)]);
        assert_eq!(specials.cut("<a> \n\tx", true), [Token(1), Text("x")]);
        assert_eq!(specials.cut("<a><a> ", true), [Token(1), Token(1)]);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let long = "x".repeat(100);
        let list: Vec<_> = (1..=100).map(|n| (&long[..n], n as u32, true, false)).collect();
        let list = list.iter().map(|&(text, id, on_request, rstrip)| Special {
            text: text.as_bytes().to_vec(),
            id,
            on_request,
            rstrip,
        });
        let error = Specials::new(list.collect()).err();
        assert!(matches!(error, Some(TokenizerError::SpecialsNest { max: 64, .. })));
    }

    #[test]
    fn agrees_with_the_slow_definition() {
        let tokens = ["aa", "aab", "ba", "b", "abc"];
        let list: Vec<_> =
            tokens.iter().enumerate().map(|(i, t)| (*t, i as u32, true, false)).collect();
        let fast = specials(&list);
        for number in 0..3usize.pow(8) {
            let text: String =
                (0..8).map(|i| ['a', 'b', 'c'][number / 3usize.pow(i) % 3]).collect();
            let mut slow = vec![Text(text.as_str())];
            for token in ["aab", "abc", "aa", "ba", "b"] {
                let id = tokens.iter().position(|t| *t == token).unwrap() as u32;
                slow = slow.into_iter().flat_map(|f| place(f, token, id)).collect();
            }
            assert_eq!(fast.cut(&text, true), slow, "{text}");
        }
    }

    fn place<'t>(fragment: Fragment<'t>, token: &str, id: u32) -> Vec<Fragment<'t>> {
        let Text(text) = fragment else { return vec![fragment] };
        let mut out = Vec::new();
        for (index, part) in text.split(token).enumerate() {
            if index > 0 {
                out.push(Token(id));
            }
            if !part.is_empty() {
                out.push(Text(part));
            }
        }
        out
    }
}
