//! SentencePiece's merges: of all neighbours whose concatenation is a token, the one with the
//! highest score first (Kudo & Richardson 2018, the "BPE" kind that llama and Gemma use).
//!
//! The vocabulary writes a space as U+2581; here both are a space. What is no token becomes its
//! UTF-8 bytes' tokens.

use std::borrow::Cow;

use super::TokenizerError;
use super::merge::{Merger, NO_ID};
use super::table::PieceTable;

/// SentencePiece's space.
pub(super) const META_SPACE: &str = "\u{2581}";

/// What SentencePiece needs besides the tokens.
pub(super) struct Spm {
    /// Order in which tokens are merged, lower first, by id.
    priorities: Vec<u32>,
    /// Id of `<0x00>` … `<0xFF>`.
    byte_ids: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
    /// Characters that stand before a space inside some token, sorted. Between any other and a
    /// space nothing can merge, so the text is cut there: the same result, in small pieces.
    before_space: Vec<char>,
    longest_token: usize,
}

/// Maps a score to a number whose ascending order is the score's descending one.
fn priority(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

impl Spm {
    /// `scores` has one entry for each piece of `table`.
    pub(super) fn new(
        scores: &[f32],
        byte_ids: Option<Box<[u32; 256]>>,
        unknown: Option<u32>,
        table: &PieceTable,
    ) -> Result<Self, TokenizerError> {
        if let Some(id) = scores.iter().position(|score| !score.is_finite()) {
            return Err(TokenizerError::Score { id: id as u32 });
        }
        if byte_ids.is_none() && unknown.is_none() {
            return Err(TokenizerError::NoFallback);
        }
        let (mut before_space, mut longest_token) = (Vec::new(), 0);
        for id in 0..table.len() as u32 {
            let Ok(piece) = std::str::from_utf8(table.piece(id)) else { continue };
            longest_token = longest_token.max(piece.len());
            let chars = piece.chars().zip(piece.chars().skip(1));
            before_space.extend(chars.filter(|(_, c)| *c == ' ').map(|(before, _)| before));
        }
        before_space.sort_unstable();
        before_space.dedup();
        let priorities = scores.iter().map(|&score| priority(score)).collect();
        Ok(Self { priorities, byte_ids, unknown, before_space, longest_token })
    }

    /// Appends the ids of `text` to `out`; `prefix` puts a space before it.
    pub(super) fn encode(
        &self,
        text: &str,
        prefix: bool,
        table: &PieceTable,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        let mut spaced = Cow::Borrowed(text);
        if text.contains(META_SPACE) {
            spaced = Cow::Owned(text.replace(META_SPACE, " "));
        }
        if prefix {
            spaced.to_mut().insert(0, ' ');
        }
        let text = spaced.as_ref();
        let (mut start, mut before) = (0, ' ');
        for (at, c) in text.char_indices() {
            if c == ' ' && at > start && self.before_space.binary_search(&before).is_err() {
                self.encode_piece(&text[start..at], table, merger, out);
                start = at;
            }
            before = c;
        }
        self.encode_piece(&text[start..], table, merger, out);
    }

    fn encode_piece(
        &self,
        piece: &str,
        table: &PieceTable,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        let bytes = piece.as_bytes();
        merger.clear();
        for (at, c) in piece.char_indices() {
            let end = at + c.len_utf8();
            merger.push(table.find(&bytes[at..end]).unwrap_or(NO_ID), at, end);
        }
        merger.run(|_, _, range| {
            if range.len() > self.longest_token {
                return None;
            }
            let id = table.find(&bytes[range])?;
            Some((self.priorities[id as usize], id))
        });
        for merged in merger.merged() {
            if merged.id != NO_ID {
                out.push(merged.id);
            } else if let Some(byte_ids) = &self.byte_ids {
                let bytes = &bytes[merged.start..merged.end];
                out.extend(bytes.iter().map(|&byte| byte_ids[byte as usize]));
            } else {
                out.extend(self.unknown);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_scores_descending() {
        let scores = [f32::MAX, 3.5, 1e-30, 0.0, -1e-30, -2.0, -1000.0, f32::MIN];
        assert!(scores.windows(2).all(|pair| priority(pair[0]) < priority(pair[1])));
        assert_eq!(priority(0.0), priority(-0.0));
    }
}
