//! Byte-level byte-pair encoding (Sennrich et al. 2016, over bytes as in GPT-2).
//!
//! GPT-2's vocabularies write every byte as one printable character; here token strings are kept
//! as the bytes they stand for, so that words of the text are looked up as they are.

use std::collections::HashMap;

use super::TokenizerError;
use super::merge::{Merger, NO_ID};
use super::pre::Pre;
use super::table::{KeyedHash, PieceTable};

/// More merges than this are refused.
const MAX_MERGES: usize = 1 << 21;

/// The byte that GPT-2's alphabet writes as `c`.
///
/// Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, are U+0100 on.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes that a token of GPT-2's alphabet stands for; none if it has other characters.
pub(super) fn bytes_of(token: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(token).ok()?.chars().map(byte_of).collect()
}

/// The merges of a vocabulary.
pub(super) struct Bpe {
    pre: Pre,
    /// Id of the one-byte token, or [`NO_ID`].
    byte_ids: Box<[u32; 256]>,
    /// (left id, right id) → (rank, merged id).
    merges: HashMap<u64, (u32, u32), KeyedHash>,
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Bpe {
    /// Each of `merges` is two tokens of the table with a space between, most frequent first.
    pub(super) fn new(
        pre: Pre,
        merges: &[&[u8]],
        table: &PieceTable,
    ) -> Result<Self, TokenizerError> {
        if merges.len() > MAX_MERGES {
            return Err(TokenizerError::TooManyMerges { found: merges.len(), max: MAX_MERGES });
        }
        let mut byte_ids = Box::new([NO_ID; 256]);
        for byte in 0..=255 {
            byte_ids[byte as usize] = table.find(&[byte]).unwrap_or(NO_ID);
        }
        let mut ranks = HashMap::with_capacity_and_hasher(merges.len(), KeyedHash::random());
        for (rank, merge) in merges.iter().enumerate() {
            let (left, right, merged) =
                parts(merge, table).ok_or(TokenizerError::Merge { index: rank })?;
            ranks.entry(key(left, right)).or_insert((rank as u32, merged));
        }
        Ok(Self { pre, byte_ids, merges: ranks })
    }

    /// Appends the ids of `text` to `out`.
    ///
    /// A byte that the vocabulary has no token for is left out, as llama.cpp does.
    pub(super) fn encode(
        &self,
        text: &str,
        table: &PieceTable,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        self.pre.split(text, &mut |word| {
            let bytes = word.as_bytes();
            if self.pre.takes_whole_words()
                && let Some(id) = table.find(bytes)
            {
                return out.push(id);
            }
            merger.clear();
            for (at, &byte) in bytes.iter().enumerate() {
                merger.push(self.byte_ids[byte as usize], at, at + 1);
            }
            merger.run(|left, right, _| self.merges.get(&key(left, right)).copied());
            out.extend(merger.merged().map(|merged| merged.id).filter(|&id| id != NO_ID));
        });
    }
}

/// The ids of a merge's two parts and of their concatenation.
fn parts(merge: &[u8], table: &PieceTable) -> Option<(u32, u32, u32)> {
    let space = merge.iter().skip(1).position(|&byte| byte == b' ')? + 1;
    let (left, right) = (bytes_of(&merge[..space])?, bytes_of(&merge[space + 1..])?);
    let merged = table.find(&[left.as_slice(), &right].concat())?;
    Some((table.find(&left)?, table.find(&right)?, merged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let mut seen = [false; 256];
        for c in '\0'..='\u{200}' {
            if let Some(byte) = byte_of(c) {
                assert!(!std::mem::replace(&mut seen[byte as usize], true), "{c:?}");
            }
        }
        assert!(seen.iter().all(|&seen| seen));
        assert_eq!(bytes_of("Ġa".as_bytes()), Some(b" a".to_vec()));
        assert_eq!(bytes_of("Ċ".as_bytes()), Some(b"\n".to_vec()));
        assert_eq!(bytes_of(b"a b"), None);
    }
}
