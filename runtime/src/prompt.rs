//! The one function from messages to tokens.
//!
//! Capture, training, evaluation and generation all come through here, so what a model is trained
//! on is what it is asked later. Template and tokenizer are the model file's own; their digest is
//! in every adapter's manifest.

use sapwood_models::{Message, Model, ModelError, Role, Sequence, Special, TokenType};

use crate::error::LearnerError;
use crate::transcript::Transcript;

/// No tokenizer's tokens are longer than this on the average of a text.
const TOKEN_BYTES: usize = 32;

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
    /// The prompt at the end of a conversation, with past exchanges in front. What can't fit a
    /// context of so many tokens in any case is left out.
    pub(crate) fn at(said: &Transcript, shots: Vec<Shot>, context_tokens: usize) -> Prompt {
        Prompt {
            instructions: said.system().map(str::to_owned),
            shots,
            turns: said.end(context_tokens.saturating_mul(TOKEN_BYTES)),
        }
    }

    /// The tokens up to where the reply begins, at most `limit` of them: if they are more,
    /// examples go first (the least similar ones) and then the oldest turns.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] if the last turn alone does not fit, or the template's refusal.
    pub fn tokens(&self, model: &Model, limit: usize) -> Result<Vec<u32>, LearnerError> {
        Ok(self.fit(model, limit)?.0)
    }

    /// As [`Prompt::tokens`], and how many of the turns went.
    pub(crate) fn fit(
        &self,
        model: &Model,
        limit: usize,
    ) -> Result<(Vec<u32>, usize), LearnerError> {
        let turns_dropped = |dropped: usize| 2 * dropped.saturating_sub(self.shots.len());
        let render = |dropped: usize| {
            let shots = &self.shots[dropped.min(self.shots.len())..];
            let turns = &self.turns[turns_dropped(dropped)..];
            render(model, self.instructions.as_deref(), shots, turns)
        };
        let whole = render(0)?;
        if whole.len() <= limit {
            return Ok((whole, 0));
        }
        // Dropping `short` is not enough. Dropping `enough` is, or it is more than there is.
        let most = self.shots.len() + self.turns.len().saturating_sub(1) / 2;
        let (mut short, mut enough) = (0, most + 1);
        let (mut fits, mut needed) = (None, whole.len());
        while enough - short > 1 {
            let middle = short + (enough - short) / 2;
            let ids = render(middle)?;
            if ids.len() <= limit {
                (fits, enough) = (Some(ids), middle);
            } else {
                (needed, short) = (ids.len(), middle);
            }
        }
        let fits = fits.map(|ids| (ids, turns_dropped(enough)));
        fits.ok_or(ModelError::ContextFull { needed, capacity: limit }.into())
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
