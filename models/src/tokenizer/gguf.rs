//! The vocabulary in a GGUF file's metadata (`tokenizer.ggml.*`).

use super::{Algorithm, Pre, Roles, TokenType, Tokenizer, TokenizerError, Vocabulary};
use crate::gguf::{Gguf, GgufError};

impl<'a> Vocabulary<'a> {
    /// Reads what the file says; defaults are llama.cpp's.
    ///
    /// # Errors
    /// [`TokenizerError::Metadata`] for a key that is missing or of another type,
    /// [`TokenizerError::UnsupportedModel`], [`TokenizerError::UnsupportedPre`],
    /// [`TokenizerError::TokenType`].
    pub fn from_gguf(gguf: &'a Gguf) -> Result<Self, TokenizerError> {
        let model = gguf.str("tokenizer.ggml.model")?;
        let tokens: Vec<&[u8]> = gguf.strings("tokenizer.ggml.tokens")?.collect();
        let (algorithm, add_bos) = match model {
            "gpt2" => {
                let pre = pre(gguf.opt_str("tokenizer.ggml.pre")?)?;
                let merges = gguf.strings("tokenizer.ggml.merges")?.collect();
                (Algorithm::ByteLevelBpe { pre, merges }, pre.adds_bos())
            }
            "llama" => {
                let scores = gguf.f32s("tokenizer.ggml.scores")?.collect();
                (Algorithm::SentencePiece { scores }, true)
            }
            other => return Err(TokenizerError::UnsupportedModel { model: clipped(other) }),
        };
        let flag = |key, default| Ok::<_, GgufError>(gguf.opt_bool(key)?.unwrap_or(default));
        let name = gguf.opt_str("general.name")?.unwrap_or_default().to_lowercase();
        Ok(Self {
            types: types(gguf, tokens.len())?,
            roles: roles(gguf, model == "llama", tokens.len())?,
            add_bos: flag("tokenizer.ggml.add_bos_token", add_bos)?,
            add_eos: flag("tokenizer.ggml.add_eos_token", false)?,
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix", model == "llama")?,
            rstrip_specials: name.contains("phi-3") || name.contains("phi3"),
            algorithm,
            tokens,
        })
    }
}

impl Tokenizer {
    /// The tokenizer that a model file carries.
    ///
    /// # Errors
    /// See [`Vocabulary::from_gguf`] and [`Tokenizer::new`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::new(&Vocabulary::from_gguf(gguf)?)
    }
}

/// At most 64 characters of a name that a file chose.
fn clipped(name: &str) -> String {
    name.chars().take(64).collect()
}

fn pre(name: Option<&str>) -> Result<Pre, TokenizerError> {
    let name = name.unwrap_or("default");
    Pre::from_name(name).ok_or_else(|| TokenizerError::UnsupportedPre { pre: clipped(name) })
}

fn types(gguf: &Gguf, tokens: usize) -> Result<Vec<TokenType>, TokenizerError> {
    let Some(values) = gguf.opt_i32s("tokenizer.ggml.token_type")? else {
        return Ok(vec![TokenType::Normal; tokens]);
    };
    let typed = values.enumerate().map(|(id, value)| {
        TokenType::from_gguf(value).ok_or(TokenizerError::TokenType { id: id as u32, value })
    });
    typed.collect()
}

fn roles(gguf: &Gguf, sentence_piece: bool, tokens: usize) -> Result<Roles, TokenizerError> {
    let role = |key: &str| gguf.opt_u32(&format!("tokenizer.ggml.{key}_token_id"));
    // SentencePiece's own numbering, for files that leave it unsaid.
    let usual = |id: u32| Some(id).filter(|&id| sentence_piece && (id as usize) < tokens);
    Ok(Roles {
        bos: role("bos")?.or(usual(1)),
        eos: role("eos")?.or(usual(2)),
        eot: role("eot")?,
        eom: role("eom")?,
        unknown: role("unknown")?.or(usual(0)),
        padding: role("padding")?,
    })
}
