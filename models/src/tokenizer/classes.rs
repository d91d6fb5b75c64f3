//! Character classes of the pre-tokenizers: letter, number, punctuation, white space.
//!
//! `\p{L}`, `\p{N}` and `\p{P}` come from regex-syntax's Unicode tables (one code point table for
//! all three, built on first use); white space is Unicode's `White_Space`, which is what both the
//! original regular expressions and llama.cpp take `\s` to be.

use std::sync::OnceLock;

/// A set of class bits.
pub(super) type Class = u8;

/// `\p{L}`
pub(super) const LETTER: Class = 1;
/// `\p{N}`
pub(super) const NUMBER: Class = 2;
/// `\p{P}`
pub(super) const PUNCTUATION: Class = 4;
/// `\s`
pub(super) const SPACE: Class = 8;

/// Two-stage table: code point / 256 → block, code point % 256 → class.
pub(super) struct Classes {
    ascii: [Class; 128],
    block_of: Vec<u16>,
    blocks: Vec<[Class; 256]>,
}

impl Classes {
    /// The one table, built on first use.
    pub(super) fn get() -> &'static Classes {
        static TABLE: OnceLock<Classes> = OnceLock::new();
        TABLE.get_or_init(Classes::build)
    }

    /// The class bits of `c`; unassigned code points have none.
    #[inline]
    pub(super) fn of(&self, c: char) -> Class {
        let code = c as usize;
        if code < 128 {
            self.ascii[code]
        } else {
            self.blocks[self.block_of[code >> 8] as usize][code & 255]
        }
    }

    fn build() -> Classes {
        let mut flat = vec![0 as Class; 0x11_0000];
        for (class, pattern) in [(LETTER, r"\p{L}"), (NUMBER, r"\p{N}"), (PUNCTUATION, r"\p{P}")] {
            mark(&mut flat, class, pattern);
        }
        for (code, class) in flat.iter_mut().enumerate() {
            if char::from_u32(code as u32).is_some_and(char::is_whitespace) {
                *class |= SPACE;
            }
        }
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        let (mut block_of, mut blocks) = (Vec::new(), Vec::<[Class; 256]>::new());
        for chunk in flat.chunks_exact(256) {
            let mut block = [0; 256];
            block.copy_from_slice(chunk);
            let index = blocks.iter().position(|b| *b == block).unwrap_or_else(|| {
                blocks.push(block);
                blocks.len() - 1
            });
            block_of.push(index as u16);
        }
        Classes { ascii, block_of, blocks }
    }
}

/// Sets `class` on every code point that the one-class `pattern` matches.
fn mark(flat: &mut [Class], class: Class, pattern: &str) {
    use regex_syntax::hir::{Class as HirClass, HirKind};
    let hir = regex_syntax::parse(pattern).expect("a constant pattern of a built-in table");
    let HirKind::Class(HirClass::Unicode(ranges)) = hir.kind() else {
        unreachable!("a Unicode property parses to a Unicode class");
    };
    for range in ranges.iter() {
        for entry in &mut flat[range.start() as usize..=range.end() as usize] {
            *entry |= class;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_known_characters() {
        let classes = Classes::get();
        for (c, class) in [
            ('a', LETTER),
            ('é', LETTER),
            ('語', LETTER),
            ('7', NUMBER),
            ('Ⅷ', NUMBER),
            ('½', NUMBER),
            ('!', PUNCTUATION),
            ('。', PUNCTUATION),
            ('$', 0),
            ('+', 0),
            ('🦙', 0),
            (' ', SPACE),
            ('\u{3000}', SPACE),
            ('\u{85}', SPACE),
            ('\u{200b}', 0),
            ('\u{301}', 0),
        ] {
            assert_eq!(classes.of(c), class, "{c:?}");
        }
    }

    #[test]
    fn numbers_and_spaces_agree_with_std() {
        let classes = Classes::get();
        for c in '\0'..=char::MAX {
            assert_eq!(classes.of(c) & SPACE != 0, c.is_whitespace(), "{c:?}");
            if c.is_ascii() {
                assert_eq!(classes.of(c) & NUMBER != 0, c.is_ascii_digit());
                assert_eq!(classes.of(c) & LETTER != 0, c.is_ascii_alphabetic());
            }
        }
    }
}
