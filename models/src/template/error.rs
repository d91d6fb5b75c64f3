//! Why a chat template was refused, or refused to render.

/// What is wrong with a chat template, or with rendering it.
///
/// Names come from the template, which the model file carries; no variant holds a message's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The file has no template, and its vocabulary none of the tokens that a usual one needs.
    #[error(
        "the model file has no `tokenizer.chat_template`, and its vocabulary has no `<|im_start|>` \
         for the usual one: use raw completion, or a model made for chat"
    )]
    Missing,
    /// The metadata key has another type.
    #[error(transparent)]
    Metadata(#[from] crate::gguf::GgufError),
    /// The template's text is too long.
    #[error("the chat template has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The template is not what Jinja's grammar allows.
    #[error("chat template, line {line}: {expected} expected")]
    Syntax {
        /// Where.
        line: u32,
        /// What should stand there.
        expected: &'static str,
    },
    /// Something of Jinja that this renderer does not have.
    #[error("chat template, line {line}: `{what}` is not supported")]
    Unsupported {
        /// Where.
        line: u32,
        /// Its name in the template.
        what: String,
    },
    /// Nested too deeply, while reading or while rendering.
    #[error("chat template, line {line}: nested more than {max} deep")]
    TooDeep {
        /// Where.
        line: u32,
        /// The limit.
        max: usize,
    },
    /// The template called `raise_exception`: it does not take these messages.
    #[error("the chat template refuses these messages (line {line}): {reason}")]
    Refused {
        /// Where.
        line: u32,
        /// Its words, if they are fixed ones.
        reason: String,
    },
    /// A value that is not there was used.
    #[error("chat template, line {line}: `{name}` is undefined")]
    Undefined {
        /// Where.
        line: u32,
        /// Its name in the template.
        name: String,
    },
    /// A value of the wrong kind was used.
    #[error("chat template, line {line}: {expected} expected")]
    Type {
        /// Where.
        line: u32,
        /// What kind was needed.
        expected: &'static str,
    },
    /// Rendering took more work or memory than any honest template needs.
    #[error("chat template, line {line}: gave up after {max} units of work")]
    Budget {
        /// Where.
        line: u32,
        /// The limit, in steps and bytes handled.
        max: u64,
    },
    /// The rendered text is too long.
    #[error("the rendered chat is longer than {max} bytes")]
    OutputTooLarge {
        /// The limit.
        max: usize,
    },
}
