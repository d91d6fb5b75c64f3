//! The chat template that a GGUF file carries: messages to the text that the model was trained on.
//!
//! Templates are Jinja, and they come with the file, so they are as trustworthy as the file is.
//! This is our own small renderer of what chat templates use of Jinja, because a general engine
//! counts instructions but not bytes: a string doubled sixty times costs it a few hundred steps
//! and all of the machine's memory. Here every step and every byte is paid for from one budget,
//! nesting is bounded, and nothing but the messages and four names can be seen. What we do not
//! have is refused by name when it is reached.
//!
//! The white space rules are those of Hugging Face's `apply_chat_template`: `trim_blocks` and
//! `lstrip_blocks`.

mod builtins;
mod error;
mod lex;
mod parse;
mod render;
mod value;

pub use error::TemplateError;

use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;
use parse::Parsed;
use render::Renderer;
use value::Value;

/// The longest template that is accepted, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;

/// The usual template of models that have `<|im_start|>` and say nothing else.
const CHAT_ML: &str = "{% for message in messages %}\
    <|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The app: standing instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role as templates spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A parsed chat template. Immutable and shareable between threads.
pub struct Template {
    parsed: Parsed,
    bos: String,
    eos: String,
    digest: [u8; 32],
}

impl Template {
    /// The template of a model file: its own, or ChatML when it has none but has `<|im_start|>`.
    ///
    /// # Errors
    /// [`TemplateError::Missing`], and those of [`Template::new`].
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let source = match gguf.opt_str("tokenizer.chat_template")? {
            Some(source) => source,
            None if tokenizer.special_id("<|im_start|>").is_some() => CHAT_ML,
            None => return Err(TemplateError::Missing),
        };
        let text = |id: Option<u32>| {
            id.map(|id| String::from_utf8_lossy(tokenizer.piece(id)).into_owned())
        };
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        Self::new(source, &bos.unwrap_or_default(), &eos.unwrap_or_default())
    }

    /// Parses `source`; `bos` and `eos` are what it sees as `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// [`TemplateError::TooLarge`], [`TemplateError::Syntax`], [`TemplateError::TooDeep`],
    /// [`TemplateError::Unsupported`] for statements that we do not have.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let (bytes, max) = (source.len(), MAX_TEMPLATE_BYTES);
            return Err(TemplateError::TooLarge { bytes, max });
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, source.as_bytes());
        Ok(Self {
            parsed: parse::parse(source)?,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            digest: std::array::from_fn(|at| digest.as_ref()[at]),
        })
    }

    /// The text of a chat; with `add_generation_prompt`, up to where the model's turn begins.
    ///
    /// Templates write BOS themselves where the model wants it: encode the result with
    /// `Special { add: false, parse: true }` if it begins with it.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] when the template does not take these messages (a system turn,
    /// say), [`TemplateError::Budget`], [`TemplateError::OutputTooLarge`] and
    /// [`TemplateError::TooDeep`] when it takes too much, the others when it is wrong.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let messages = messages.iter().map(|message| {
            let role = ("role".into(), Value::str(message.role.as_str()));
            Value::map(vec![role, ("content".into(), Value::str(&message.content))])
        });
        let messages: Option<Vec<Value>> = messages.collect();
        let globals = vec![
            ("messages", messages.and_then(Value::list).unwrap_or(Value::Undefined)),
            ("add_generation_prompt", Value::Bool(add_generation_prompt)),
            ("bos_token", Value::str(&self.bos)),
            ("eos_token", Value::str(&self.eos)),
            // As Hugging Face hands them over when there are none.
            ("tools", Value::None),
            ("documents", Value::None),
        ];
        Renderer::render(&self.parsed, globals)
    }

    /// SHA-256 of the template's text.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

#[cfg(test)]
mod tests;
