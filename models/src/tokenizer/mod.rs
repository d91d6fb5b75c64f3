//! Text to token ids and back, from the vocabulary that a GGUF file carries.
//!
//! Two algorithms cover the models we run: byte-level BPE behind a pre-tokenizer known by name, and
//! SentencePiece. Both reproduce llama.cpp id for id. A vocabulary is checked when the tokenizer is
//! made; after that no text and no id can make it fail, and its time is O(n log n) in the text.

mod bpe;
mod classes;
mod gguf;
mod merge;
mod pre;
mod special;
mod spm;
mod stream;
mod table;
mod vocabulary;

pub use pre::Pre;
pub use stream::{TextStream, Utf8Stream};
pub use vocabulary::{Algorithm, MAX_TOKEN_BYTES, MAX_TOKENS, Roles, TokenType, Vocabulary};

use bpe::Bpe;
use merge::Merger;
use special::{Fragment, Specials};
use spm::Spm;
use table::PieceTable;

/// Why a vocabulary was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A metadata key is missing or of another type.
    #[error(transparent)]
    Metadata(#[from] crate::gguf::GgufError),
    /// A tokenizer that we do not know.
    #[error("tokenizer model `{model}` is not supported (gpt2 and llama are)")]
    UnsupportedModel {
        /// `tokenizer.ggml.model`, at most 64 characters of it.
        model: String,
    },
    /// A pre-tokenizer that we do not know.
    #[error("pre-tokenizer `{pre}` is not supported; see `Pre::NAMES` for those that are")]
    UnsupportedPre {
        /// `tokenizer.ggml.pre`, at most 64 characters of it.
        pre: String,
    },
    /// Too many tokens, or none.
    #[error("the vocabulary has {found} tokens; 1 to {max} are accepted")]
    VocabularySize {
        /// Tokens in the file.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An array that must be as long as the vocabulary is not.
    #[error("`{key}` has {found} entries for {expected} tokens")]
    Length {
        /// The metadata key.
        key: &'static str,
        /// Entries in the file.
        found: usize,
        /// Tokens in the file.
        expected: usize,
    },
    /// A token string that is too long.
    #[error("token {id} is {bytes} bytes long; at most {max} are accepted")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A token type that GGUF does not define.
    #[error("token {id} has type {value}; 0 to 6 are defined")]
    TokenType {
        /// The token.
        id: u32,
        /// The number in the file.
        value: i32,
    },
    /// A role is given to a token that is not there.
    #[error("the {role} token is {id}, but there are {tokens} tokens")]
    RoleOutOfRange {
        /// The role.
        role: &'static str,
        /// The id in the file.
        id: u32,
        /// Tokens in the file.
        tokens: usize,
    },
    /// A token that is to be added to every text is not named.
    #[error("the file wants a {role} token added but names none")]
    MissingRole {
        /// The role.
        role: &'static str,
    },
    /// A byte token that is not spelled `<0xHH>`, or a second one for its byte.
    #[error("byte token {id} is not `<0xHH>` with a byte of its own")]
    ByteToken {
        /// The token.
        id: u32,
    },
    /// Some byte tokens, but not all.
    #[error("the vocabulary has {found} byte tokens; 256 or none are accepted")]
    ByteTokens {
        /// Byte tokens in the file.
        found: usize,
    },
    /// Neither byte tokens nor an unknown token.
    #[error("the vocabulary has neither byte tokens nor an unknown token")]
    NoFallback,
    /// A score that is not a number.
    #[error("the score of token {id} is not finite")]
    Score {
        /// The token.
        id: u32,
    },
    /// Too many merges.
    #[error("the vocabulary has {found} merges; at most {max} are accepted")]
    TooManyMerges {
        /// Merges in the file.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A merge that is not two tokens which make a third.
    #[error("merge {index} is not two tokens whose concatenation is a token")]
    Merge {
        /// The merge's rank.
        index: usize,
    },
    /// Too many special tokens that begin with one another.
    #[error("special token {id} begins with more than {max} others")]
    SpecialsNest {
        /// The token.
        id: u32,
        /// The limit.
        max: usize,
    },
}

/// What to do about special tokens while encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special {
    /// Put BOS first and EOS last, as far as the model wants them.
    pub add: bool,
    /// Read control tokens that are spelled out in the text as those tokens. Never for text that
    /// a user wrote: it could end its own turn.
    pub parse: bool,
}

/// Token strings that end a reply, whatever the file calls them (llama.cpp's list).
const ENDS: [&str; 14] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "<|return|>",
    "<|call|>",
];

enum Engine {
    Bpe(Bpe),
    Spm(Spm),
}

/// A model's tokenizer. Immutable and shareable between threads.
pub struct Tokenizer {
    engine: Engine,
    /// What each token stands for in text; control tokens as they are spelled.
    table: PieceTable,
    types: Vec<TokenType>,
    specials: Specials,
    roles: Roles,
    /// Sorted ids that end a reply.
    ends: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
}

impl Tokenizer {
    /// Checks a vocabulary and makes its tokenizer.
    ///
    /// # Errors
    /// One variant of [`TokenizerError`] for each way in which a vocabulary can be wrong.
    pub fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        let sentence_piece = matches!(vocabulary.algorithm, Algorithm::SentencePiece { .. });
        let (mut types, ends) = (vocabulary.types.clone(), ends(vocabulary));
        for &id in &ends {
            types[id as usize] = TokenType::Control;
        }
        let mut table = PieceTable::with_capacity(vocabulary.tokens.len());
        for (id, token) in vocabulary.tokens.iter().enumerate() {
            let (piece, findable) = match sentence_piece {
                true => sentence_piece_token(token, types[id]),
                false => byte_level_token(token, types[id]),
            };
            table.push(&piece, findable);
        }
        let engine = match &vocabulary.algorithm {
            Algorithm::ByteLevelBpe { pre, merges } => Engine::Bpe(Bpe::new(*pre, merges, &table)?),
            Algorithm::SentencePiece { scores } => {
                let (bytes, unknown) = (vocabulary.byte_ids()?, vocabulary.roles.unknown);
                Engine::Spm(Spm::new(scores, bytes, unknown, &table)?)
            }
        };
        Ok(Self {
            engine,
            table,
            specials: Specials::new(specials(vocabulary, &types))?,
            types,
            roles: vocabulary.roles,
            ends,
            add_bos: vocabulary.add_bos,
            add_eos: vocabulary.add_eos,
            add_space_prefix: sentence_piece && vocabulary.add_space_prefix,
        })
    }

    /// The ids of `text`.
    ///
    /// User-defined tokens are found in the text always, control tokens only with
    /// [`Special::parse`].
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        let mut merger = Merger::default();
        if special.add && self.add_bos {
            out.extend(self.roles.bos);
        }
        let mut prefix = self.add_space_prefix;
        for fragment in self.specials.cut(text, special.parse) {
            match (fragment, &self.engine) {
                (Fragment::Token(id), _) => {
                    out.push(id);
                    prefix = self.add_space_prefix;
                }
                (Fragment::Text(text), Engine::Bpe(bpe)) => {
                    bpe.encode(text, &self.table, &mut merger, &mut out);
                }
                (Fragment::Text(text), Engine::Spm(spm)) => {
                    spm.encode(text, prefix, &self.table, &mut merger, &mut out);
                    prefix = false;
                }
            }
        }
        if special.add && self.add_eos {
            out.extend(self.roles.eos);
        }
        out
    }

    /// The bytes of the text that `ids` stand for. Control tokens and unknown ids leave nothing;
    /// the space that encoding puts before a text is taken away again.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let mut stream = TextStream::new(self, self.add_space_prefix);
        ids.iter().flat_map(|&id| stream.bytes(id)).copied().collect()
    }

    /// Text token by token: all of it is `decode` of all tokens, lossily. `continues` says that
    /// text came before, so that a first space is one of the text's own.
    pub fn stream(&self, continues: bool) -> TextStream<'_> {
        TextStream::new(self, self.add_space_prefix && !continues)
    }

    /// The bytes that one token stands for; a control token's spelling. Empty for unknown ids.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.table.piece(id)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// The token that a model ends its reply with: the end of a turn where there is one, else of a
    /// text.
    pub fn end_of_reply(&self) -> Option<u32> {
        self.roles.eot.or(self.roles.eos)
    }

    /// Whether generation stops at this token: the end of a text, a turn or a message.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// The type of a token.
    pub fn token_type(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// The id of the control or user-defined token that is spelled `text`.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.specials.find(text.as_bytes())
    }

    /// Whether BOS is put first when special tokens are added.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    fn adds_space_prefix(&self) -> bool {
        self.add_space_prefix
    }

    fn is_hidden(&self, id: u32) -> bool {
        matches!(self.token_type(id), None | Some(TokenType::Control | TokenType::Unknown))
    }

    fn is_user_defined(&self, id: u32) -> bool {
        self.token_type(id) == Some(TokenType::UserDefined)
    }
}

/// A SentencePiece token: what it stands for, and whether merges may make it.
fn sentence_piece_token(token: &[u8], kind: TokenType) -> (Vec<u8>, bool) {
    match kind {
        TokenType::Normal | TokenType::Unused => match std::str::from_utf8(token) {
            Ok(text) => (text.replace(spm::META_SPACE, " ").into_bytes(), !text.contains(' ')),
            Err(_) => (token.to_vec(), false),
        },
        TokenType::UserDefined => {
            let meta = std::str::from_utf8(token).is_ok_and(|t| t.contains([' ', '\u{2581}']));
            (token.to_vec(), !meta)
        }
        TokenType::Byte => (vocabulary::byte_token(token).into_iter().collect(), false),
        TokenType::Control | TokenType::Unknown => (token.to_vec(), false),
    }
}

/// A byte-level token: what it stands for, and whether merges may make it.
fn byte_level_token(token: &[u8], kind: TokenType) -> (Vec<u8>, bool) {
    match (kind, bpe::bytes_of(token)) {
        (TokenType::Control | TokenType::Unknown, _) => (token.to_vec(), false),
        (TokenType::UserDefined, Some(bytes)) => (token.to_vec(), bytes == token),
        (TokenType::UserDefined, None) | (_, None) => (token.to_vec(), false),
        (_, Some(bytes)) => (bytes, true),
    }
}

/// The ids that end a reply, sorted.
fn ends(vocabulary: &Vocabulary<'_>) -> Vec<u32> {
    let roles = &vocabulary.roles;
    let mut ends: Vec<u32> = [roles.eos, roles.eot, roles.eom].into_iter().flatten().collect();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if token.first().is_some_and(|byte| b"<_".contains(byte))
            && ENDS.iter().any(|end| end.as_bytes() == *token)
        {
            ends.push(id as u32);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The tokens that are looked for in the text itself.
fn specials(vocabulary: &Vocabulary<'_>, types: &[TokenType]) -> Vec<special::Special> {
    let mut specials = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        let on_request = match types[id] {
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => false,
            _ => continue,
        };
        let id = id as u32;
        // Phi-3 leaves these three alone.
        let kept = matches!(*token, b"<s>" | b"<unk>" | b"<|endoftext|>");
        let rstrip = vocabulary.rstrip_specials && !kept;
        specials.push(special::Special { text: token.to_vec(), id, on_request, rstrip });
    }
    specials
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
