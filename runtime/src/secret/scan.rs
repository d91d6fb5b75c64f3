//! A text as the rules see it: one form of each character, with the way back to the bytes.

use std::cell::Cell;
use std::ops::Range;

/// Characters, folded: digits of all scripts are ASCII, spaces and dashes are the plain ones,
/// accents are gone, and so is what takes no room.
pub struct Text {
    /// Folded, in their own case.
    pub raw: Vec<char>,
    /// Folded, in lower case.
    pub low: Vec<char>,
    /// Where each begins in the bytes, and the end.
    at: Vec<usize>,
    /// Looks at a character: what the rules cost.
    pub looks: Cell<u64>,
}

impl Text {
    pub fn new(text: &str) -> Text {
        let (mut raw, mut low, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for (start, c) in text.char_indices() {
            let Some(folded) = fold(c) else { continue };
            raw.push(folded);
            low.push(folded.to_lowercase().next().map_or(folded, |c| fold(c).unwrap_or(c)));
            at.push(start);
        }
        at.push(text.len());
        Text { raw, low, at, looks: Cell::new(0) }
    }

    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// The bytes of some characters. What takes no room goes with the character before it.
    pub fn bytes(&self, span: Range<usize>) -> Range<usize> {
        self.at[span.start]..self.at[span.end]
    }

    /// The character at a place; NUL outside.
    pub fn get(&self, at: usize) -> char {
        self.looks.set(self.looks.get() + 1);
        self.raw.get(at).copied().unwrap_or('\0')
    }

    /// The one before a place; NUL at the beginning.
    pub fn before(&self, at: usize) -> char {
        if at == 0 { '\0' } else { self.get(at - 1) }
    }

    /// Whether the lower-case text goes on with `word` at a place.
    pub fn goes_on(&self, at: usize, word: &str) -> bool {
        word.chars().enumerate().all(|(i, c)| {
            self.looks.set(self.looks.get() + 1);
            self.low.get(at + i) == Some(&c)
        })
    }

    /// The first place from `at` on, at most `most` characters on, whose character is not `of`
    /// this kind.
    pub fn skip(&self, at: usize, most: usize, of: impl Fn(char) -> bool) -> usize {
        let end = self.len().min(at.saturating_add(most));
        (at..end).find(|&i| !of(self.get(i))).unwrap_or(end.max(at))
    }

    /// Runs of letters and digits, at most `most` characters of each.
    pub fn words(&self, most: usize) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut at = 0;
        while at < self.len() {
            if self.get(at).is_alphanumeric() {
                let end = self.skip(at, usize::MAX, char::is_alphanumeric);
                if end - at <= most {
                    words.push(at..end);
                }
                at = end;
            } else {
                at += 1;
            }
        }
        words
    }

    /// A word in lower case.
    pub fn word(&self, span: Range<usize>) -> String {
        self.looks.set(self.looks.get() + span.len() as u64);
        self.low[span].iter().collect()
    }
}

/// One form for what looks the same to a reader; `None` for what takes no room.
fn fold(c: char) -> Option<char> {
    let digit = |zero: u32| char::from_digit(u32::from(c) - zero, 10);
    Some(match u32::from(c) {
        // Soft hyphen, combining marks, zero-width characters, variation selectors, keycaps.
        0xad
        | 0x300..=0x36f
        | 0x200b..=0x200f
        | 0x2060
        | 0x20d0..=0x20f0
        | 0xfe00..=0xfe0f
        | 0xfeff => return None,
        0x660..=0x669 => digit(0x660)?,
        0x6f0..=0x6f9 => digit(0x6f0)?,
        0x966..=0x96f => digit(0x966)?,
        0xff10..=0xff19 => digit(0xff10)?,
        0xa0 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => ' ',
        0x2010..=0x2015 | 0x2212 | 0xff0d => '-',
        0xff1a => ':',
        0xff1d => '=',
        _ => plain(c),
    })
}

/// A Latin letter without its accent.
fn plain(c: char) -> char {
    match c {
        'à'..='å' | 'ā' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'è'..='ë' | 'ę' | 'ě' => 'e',
        'ì'..='ï' | 'ı' => 'i',
        'ñ' | 'ń' => 'n',
        'ò'..='ö' | 'ø' | 'ő' => 'o',
        'ù'..='ü' | 'ů' | 'ű' => 'u',
        'ł' => 'l',
        'ś' | 'š' | 'ş' => 's',
        'ź' | 'ż' | 'ž' => 'z',
        'ğ' => 'g',
        'ý' => 'y',
        _ => c,
    }
}
