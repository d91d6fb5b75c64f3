//! The one function from messages to tokens.
//!
//! Capture, training, evaluation and generation all come through here, so what a model is trained
//! on is what it is asked later. Template and tokenizer are the model file's own; their digest is
//! in every adapter's manifest.

use sapwood_models::{Message, Model, ModelError, Role, Sequence, Special, TokenType};

use crate::error::LearnerError;
use crate::learn::example::Example;

/// A past exchange that is shown to the model as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// What the user had asked.
    pub prompt: String,
    /// What they accepted, or made of the reply.
    pub answer: String,
}

/// Everything that a reply is conditioned on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The app's standing instructions.
    pub instructions: Option<String>,
    /// Retrieved examples, the least similar first.
    pub shots: Vec<Shot>,
    /// The turns of this conversation; the last one is the user's.
    pub turns: Vec<Message>,
}

impl Prompt {
    /// The prompt of an example, with past exchanges in front.
    pub(crate) fn of(example: &Example, shots: Vec<Shot>) -> Prompt {
        let mut prompt = Prompt { shots, ..Prompt::default() };
        for message in &example.prompt {
            match message.role {
                Role::System => prompt.instructions = Some(message.content.clone()),
                Role::User | Role::Assistant => prompt.turns.push(message.clone()),
            }
        }
        prompt
    }

    /// The tokens up to where the reply begins, at most `limit` of them: if they are more,
    /// examples go first (the least similar ones) and then the oldest turns.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] if the last turn alone does not fit, or the template's refusal.
    pub fn tokens(&self, model: &Model, limit: usize) -> Result<Vec<u32>, LearnerError> {
        let mut shots = self.shots.as_slice();
        let mut turns = self.turns.as_slice();
        loop {
            let ids = render(model, self.instructions.as_deref(), shots, turns)?;
            if ids.len() <= limit {
                return Ok(ids);
            }
            if let [_, rest @ ..] = shots {
                shots = rest;
            } else if turns.len() > 2 {
                turns = &turns[2..];
            } else {
                let needed = ids.len();
                return Err(ModelError::ContextFull { needed, capacity: limit }.into());
            }
        }
    }

    /// The prompt with `answer` behind it, as a sequence whose targets are the answer's tokens and
    /// the token that ends the turn.
    ///
    /// # Errors
    /// As [`Prompt::tokens`].
    pub fn sequence(
        &self,
        model: &Model,
        answer: &str,
        limit: usize,
    ) -> Result<Sequence, LearnerError> {
        let tail = answer_tokens(model, answer);
        let mut ids = self.tokens(model, limit.saturating_sub(tail.len()))?;
        let prompt_len = ids.len();
        ids.extend(tail);
        Ok(Sequence::after_prompt(ids, prompt_len))
    }
}

/// The answer's tokens and the one that ends the turn, as the model itself would produce them.
fn answer_tokens(model: &Model, answer: &str) -> Vec<u32> {
    let tokenizer = model.tokenizer();
    let mut ids = tokenizer.encode(answer, Special { add: false, parse: false });
    ids.extend(tokenizer.end_of_reply());
    ids
}

fn render(
    model: &Model,
    instructions: Option<&str>,
    shots: &[Shot],
    turns: &[Message],
) -> Result<Vec<u32>, LearnerError> {
    let message = |role, content: &str| Message { role, content: defuse(model, content) };
    let mut messages = Vec::with_capacity(1 + 2 * shots.len() + turns.len());
    messages.extend(instructions.map(|text| message(Role::System, text)));
    for shot in shots {
        messages.push(message(Role::User, &shot.prompt));
        messages.push(message(Role::Assistant, &shot.answer));
    }
    messages.extend(turns.iter().map(|turn| message(turn.role, &turn.content)));
    let text = model.template()?.render(&messages, true)?;
    let tokenizer = model.tokenizer();
    let bos = tokenizer.bos().map(|id| tokenizer.piece(id));
    let has_bos = bos.is_some_and(|bos| text.as_bytes().starts_with(bos));
    Ok(tokenizer.encode(&text, Special { add: !has_bos, parse: true }))
}

/// Takes the spellings of control tokens out of a message, so that no text can end its own turn
/// or speak in another role.
fn defuse(model: &Model, content: &str) -> String {
    let tokenizer = model.tokenizer();
    let mut text = content.to_owned();
    // Taking one out can bring another together, hence the loop; each turn shortens the text.
    loop {
        let ids = tokenizer.encode(&text, Special { add: false, parse: true });
        let control = ids
            .into_iter()
            .filter(|&id| tokenizer.token_type(id) == Some(TokenType::Control))
            .find_map(|id| std::str::from_utf8(tokenizer.piece(id)).ok().filter(|p| !p.is_empty()));
        match control {
            Some(piece) if text.contains(piece) => text = text.replace(piece, ""),
            _ => return text,
        }
    }
}
