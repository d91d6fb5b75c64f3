//! Measuring a candidate against the adapter in force, on what the user wrote or used.

use sapwood_models::{Adapter, ModelError, Role, Stop};

use crate::error::LearnerError;
use crate::learn::example::Example;
use crate::learn::gate::{Checked, Paired, Report};
use crate::memory::Memory;
use crate::prompt::{Prompt, Shot};
use crate::sample::{Sampler, Sampling};
use crate::shared::Shared;
use crate::verify::is_degenerate;

/// The prompt of an example, with past exchanges in front.
pub(super) fn prompt(example: &Example, shots: Vec<Shot>) -> Prompt {
    let mut prompt = Prompt { shots, ..Prompt::default() };
    for message in &example.prompt {
        match message.role {
            Role::System => prompt.instructions = Some(message.content.clone()),
            Role::User | Role::Assistant => prompt.turns.push(message.clone()),
        }
    }
    prompt
}

/// An adapter with the memory that goes with it.
pub(super) struct Arm<'a> {
    pub adapter: Option<&'a Adapter>,
    pub memory: Memory,
}

/// Both arms are measured as they are in use: with retrieval from their own memory if it is
/// switched on, at temperature 0.
pub(super) struct Evaluation<'a> {
    pub shared: &'a Shared,
    pub candidate: Arm<'a>,
    pub production: Arm<'a>,
    /// Whether replies are made with retrieval.
    pub retrieval: bool,
    /// Examples from here on are new since the last promotion.
    pub since_ms: u64,
    pub stop: &'a Stop,
}

impl Evaluation<'_> {
    /// Everything that the gate asks for; `None` if a stop came first.
    pub fn report(
        &self,
        held_out: &[Example],
        attempt: u32,
    ) -> Result<Option<Report>, LearnerError> {
        match self.measure(held_out, attempt) {
            Err(LearnerError::Model(ModelError::Stopped)) => Ok(None),
            report => report.map(Some),
        }
    }

    fn measure(&self, held_out: &[Example], attempt: u32) -> Result<Report, LearnerError> {
        let mut report = Report { attempt, ..Report::default() };
        for (i, example) in held_out.iter().enumerate() {
            let new = example.authored() && example.time_ms >= self.since_ms;
            report.paired.push(self.paired(example, new)?);
            if i < self.shared.config.learning.checked_items {
                report.checked.push(self.checked(example, new)?);
            }
        }
        Ok(report)
    }

    fn paired(&self, example: &Example, new: bool) -> Result<Paired, LearnerError> {
        let nll = |arm, retrieval| self.nll(arm, retrieval, example);
        let production_nll = nll(&self.production, self.retrieval)?;
        Ok(Paired {
            session: example.session,
            category: example.category.clone(),
            authored: example.authored(),
            new,
            candidate_nll: nll(&self.candidate, self.retrieval)?,
            production_nll,
            retrieval_nll: Some(match self.retrieval {
                true => production_nll,
                false => nll(&self.production, true)?,
            }),
        })
    }

    fn checked(&self, example: &Example, new: bool) -> Result<Checked, LearnerError> {
        let passes = |arm, retrieval| self.passes(arm, retrieval, example);
        let production = passes(&self.production, self.retrieval)?;
        Ok(Checked {
            category: example.category.clone(),
            new,
            must_pass: false,
            candidate: passes(&self.candidate, self.retrieval)?,
            production,
            retrieval: Some(match self.retrieval {
                true => production,
                false => passes(&self.production, true)?,
            }),
        })
    }

    fn prompt(&self, arm: &Arm<'_>, retrieval: bool, example: &Example) -> Prompt {
        let recall = || {
            let Example { surface, lineage, .. } = example;
            self.shared.shots(&arm.memory, surface, &example.prompt, lineage)
        };
        prompt(example, if retrieval { recall() } else { Vec::new() })
    }

    /// Negative log-likelihood of what the user wanted, in nats per token.
    fn nll(&self, arm: &Arm<'_>, retrieval: bool, example: &Example) -> Result<f64, LearnerError> {
        let model = &self.shared.model;
        let prompt = self.prompt(arm, retrieval, example);
        let limit = self.shared.config.context_tokens;
        let sequence = prompt.sequence(model, &example.target, limit)?;
        let logp = model.score(arm.adapter, &sequence, self.stop)?;
        let sum: f64 = logp.iter().map(|&l| f64::from(l)).sum();
        Ok(-sum / logp.len().max(1) as f64)
    }

    /// Whether the text generated at temperature 0 is what the user wanted, or, on surfaces
    /// without one right text, at least sound.
    fn passes(
        &self,
        arm: &Arm<'_>,
        retrieval: bool,
        example: &Example,
    ) -> Result<bool, LearnerError> {
        let prompt = self.prompt(arm, retrieval, example);
        let wanted = self.shared.request_ids(&example.target).len();
        let most = wanted + SPARE_TOKENS;
        let text = greedy(self.shared, arm.adapter, &prompt, most, self.stop)?;
        if self.shared.config.learning.exact {
            return Ok(text.trim() == example.target.trim());
        }
        Ok(!text.trim().is_empty() && !is_degenerate(&text))
    }
}

/// Tokens beyond the wanted text's own that a generated text may have before it is cut off.
const SPARE_TOKENS: usize = 16;

/// The reply at temperature 0, of at most `most` tokens.
pub(super) fn greedy(
    shared: &Shared,
    adapter: Option<&Adapter>,
    prompt: &Prompt,
    most: usize,
    stop: &Stop,
) -> Result<String, LearnerError> {
    let model = &shared.model;
    let limit = shared.config.context_tokens.saturating_sub(most).max(1);
    let ids = prompt.tokens(model, limit)?;
    let mut cache = model.cache(ids.len() + most);
    let mut sampler = Sampler::new(Sampling::greedy())?;
    let mut logits = model.step(&mut cache, adapter, &ids)?;
    let mut made = Vec::new();
    while made.len() < most {
        if stop.is_requested() {
            return Err(ModelError::Stopped.into());
        }
        let token = sampler.sample(&logits, &made, made.len() as u64)?;
        if model.tokenizer().is_end(token) {
            break;
        }
        made.push(token);
        logits = model.step(&mut cache, adapter, &[token])?;
    }
    let mut stream = model.tokenizer().stream(true);
    let text: String = made.iter().map(|&id| stream.push(id)).collect();
    Ok(text + &stream.finish())
}
