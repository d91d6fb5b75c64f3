//! What a model file says about its tokens, before it is believed.

use super::TokenizerError;
use super::pre::Pre;

/// The largest vocabulary that is accepted, in tokens.
pub const MAX_TOKENS: usize = 1 << 20;
/// The longest token that is accepted, in bytes.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// What a token is for; the numbers are GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// 1: text, or bytes of it.
    Normal,
    /// 2: stands for what could not be encoded.
    Unknown,
    /// 3: never in text: begins, ends or structures it.
    Control,
    /// 4: text that is always one token.
    UserDefined,
    /// 5: not in use.
    Unused,
    /// 6: one byte, `<0x00>` … `<0xFF>`.
    Byte,
}

impl TokenType {
    /// The type numbered `value`; 0 ("undefined") counts as normal.
    pub fn from_gguf(value: i32) -> Option<TokenType> {
        Some(match value {
            0 | 1 => TokenType::Normal,
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            _ => return None,
        })
    }
}

/// How text becomes tokens, with what only that way needs.
#[derive(Debug, Clone)]
pub enum Algorithm<'a> {
    /// Byte-level BPE: GGUF's "gpt2".
    ByteLevelBpe {
        /// How text is cut into words.
        pre: Pre,
        /// Two tokens with a space between, in order of rank.
        merges: Vec<&'a [u8]>,
    },
    /// SentencePiece: GGUF's "llama".
    SentencePiece {
        /// One for each token; neighbours that make the token of highest score merge first.
        scores: Vec<f32>,
    },
}

/// Ids of the tokens with a role.
#[derive(Debug, Clone, Copy, Default)]
pub struct Roles {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Ends a message.
    pub eom: Option<u32>,
    /// Stands for what could not be encoded.
    pub unknown: Option<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
}

/// A vocabulary as read; [`Tokenizer::new`](super::Tokenizer::new) checks it.
#[derive(Debug, Clone)]
pub struct Vocabulary<'a> {
    /// How text becomes tokens.
    pub algorithm: Algorithm<'a>,
    /// Token strings as the file has them (byte-level alphabet or U+2581 for a space).
    pub tokens: Vec<&'a [u8]>,
    /// One for each token.
    pub types: Vec<TokenType>,
    /// Ids of the tokens with a role.
    pub roles: Roles,
    /// Whether BOS is put first when special tokens are added.
    pub add_bos: bool,
    /// Whether EOS is put last when special tokens are added.
    pub add_eos: bool,
    /// SentencePiece: whether text gets a space before it.
    pub add_space_prefix: bool,
    /// Whether special tokens swallow the white space after them (Phi-3).
    pub rstrip_specials: bool,
}

impl Vocabulary<'_> {
    /// Everything that can be checked without building anything.
    pub(super) fn check(&self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        if !(1..=MAX_TOKENS).contains(&count) {
            return Err(TokenizerError::VocabularySize { found: count, max: MAX_TOKENS });
        }
        let length = |key, found| match found == count {
            true => Ok(()),
            false => Err(TokenizerError::Length { key, found, expected: count }),
        };
        length("tokenizer.ggml.token_type", self.types.len())?;
        if let Algorithm::SentencePiece { scores } = &self.algorithm {
            length("tokenizer.ggml.scores", scores.len())?;
        }
        for (id, token) in self.tokens.iter().enumerate() {
            if token.len() > MAX_TOKEN_BYTES {
                let (id, bytes) = (id as u32, token.len());
                return Err(TokenizerError::TokenTooLong { id, bytes, max: MAX_TOKEN_BYTES });
            }
        }
        let roles = &self.roles;
        for (role, id) in [
            ("bos", roles.bos),
            ("eos", roles.eos),
            ("eot", roles.eot),
            ("eom", roles.eom),
            ("unknown", roles.unknown),
            ("padding", roles.padding),
        ] {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return Err(TokenizerError::RoleOutOfRange { role, id, tokens: count });
            }
        }
        for (role, wanted, id) in
            [("bos", self.add_bos, roles.bos), ("eos", self.add_eos, roles.eos)]
        {
            if wanted && id.is_none() {
                return Err(TokenizerError::MissingRole { role });
            }
        }
        Ok(())
    }

    /// The byte tokens' ids, by byte: all 256, or none at all.
    pub(super) fn byte_ids(&self) -> Result<Option<Box<[u32; 256]>>, TokenizerError> {
        let mut ids = Box::new([None; 256]);
        let mut found = 0;
        for (id, token) in self.tokens.iter().enumerate() {
            if self.types[id] != TokenType::Byte {
                continue;
            }
            let id = id as u32;
            let byte = byte_token(token).ok_or(TokenizerError::ByteToken { id })?;
            if ids[byte as usize].replace(id).is_some() {
                return Err(TokenizerError::ByteToken { id });
            }
            found += 1;
        }
        match found {
            0 => Ok(None),
            256 => Ok(Some(Box::new(ids.map(|id| id.unwrap_or_default())))),
            _ => Err(TokenizerError::ByteTokens { found }),
        }
    }
}

/// The byte of a token spelled exactly `<0xHH>`.
pub(super) fn byte_token(token: &[u8]) -> Option<u8> {
    let hex = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    };
    match token {
        [b'<', b'0', b'x', high, low, b'>'] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}
