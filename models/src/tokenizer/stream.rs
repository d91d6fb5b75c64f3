//! Tokens to text, one token at a time.

use super::Tokenizer;

/// Joins bytes into text, whole characters only: what may still become a character waits.
///
/// Invalid UTF-8 becomes U+FFFD, just as `String::from_utf8_lossy` of all the bytes would have it.
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// The start of a character: at most three bytes between calls.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes the next bytes; returns the text that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(invalid) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[invalid..];
                }
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        text
    }

    /// The end: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A tokenizer's text, token by token; see [`Tokenizer::stream`].
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    /// The next text token carries the space that encoding put before it.
    strip_space: bool,
    utf8: Utf8Stream,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, strip_space: bool) -> Self {
        Self { tokenizer, strip_space, utf8: Utf8Stream::default() }
    }

    /// The bytes of the next token in its place.
    pub(super) fn bytes(&mut self, id: u32) -> &'t [u8] {
        if self.tokenizer.is_hidden(id) {
            self.strip_space = self.tokenizer.adds_space_prefix();
            return &[];
        }
        let piece = self.tokenizer.piece(id);
        if self.tokenizer.is_user_defined(id) {
            self.strip_space = self.tokenizer.adds_space_prefix();
            return piece;
        }
        match std::mem::take(&mut self.strip_space) {
            true => piece.strip_prefix(b" ").unwrap_or(piece),
            false => piece,
        }
    }

    /// Takes the next token; returns the text that it completes.
    pub fn push(&mut self, id: u32) -> String {
        let bytes = self.bytes(id);
        self.utf8.push(bytes)
    }

    /// The end: an unfinished character becomes U+FFFD.
    pub fn finish(mut self) -> String {
        self.utf8.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_come_whole() {
        let mut stream = Utf8Stream::default();
        let llama = "🦙".as_bytes();
        assert_eq!(stream.push(&llama[..1]), "");
        assert_eq!(stream.push(&llama[1..3]), "");
        assert_eq!(stream.push(&llama[3..]), "🦙");
        assert_eq!(stream.push(&llama[..2]), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_lossy_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..20),
            text in "\\PC*",
        ) {
            let mut pieces = pieces;
            pieces.extend(text.as_bytes().chunks(2).map(<[u8]>::to_vec));
            let mut stream = Utf8Stream::default();
            let mut joined = String::new();
            for piece in &pieces {
                joined += &stream.push(piece);
            }
            joined += &stream.finish();
            prop_assert_eq!(joined, String::from_utf8_lossy(&pieces.concat()).into_owned());
        }
    }
}
