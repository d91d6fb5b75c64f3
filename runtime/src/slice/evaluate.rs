//! Measuring a candidate against the adapter in force, on what the user wrote or used.

use sapwood_models::{Adapter, ModelError, Role, Special, Stop};

use crate::error::LearnerError;
use crate::learn::example::Example;
use crate::learn::gate::{Checked, Paired, Report};
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

/// How both arms are measured: with retrieval as it is in use, on the same prompts, at
/// temperature 0.
pub(super) struct Evaluation<'a> {
    pub shared: &'a Shared,
    /// Examples from here on are new since the last promotion.
    pub since_ms: u64,
    pub stop: &'a Stop,
}

impl Evaluation<'_> {
    /// Everything that the gate asks for; `None` if a stop came first.
    pub fn report(
        &self,
        candidate: &Adapter,
        held_out: &[Example],
        attempt: u32,
    ) -> Result<Option<Report>, LearnerError> {
        match self.measure(candidate, held_out, attempt) {
            Err(LearnerError::Model(ModelError::Stopped)) => Ok(None),
            report => report.map(Some),
        }
    }

    fn measure(
        &self,
        candidate: &Adapter,
        held_out: &[Example],
        attempt: u32,
    ) -> Result<Report, LearnerError> {
        let pinned = self.shared.in_force();
        let production = pinned.adapter.as_ref();
        let mut report = Report { attempt, ..Report::default() };
        for (i, example) in held_out.iter().enumerate() {
            let retrieved = prompt(example, self.shots(example));
            let in_use = if self.shared.kept().retrieval_enabled {
                retrieved.clone()
            } else {
                prompt(example, Vec::new())
            };
            let new = example.authored() && example.time_ms >= self.since_ms;
            let retrieval_nll = self.nll(production, &retrieved, &example.target)?;
            report.paired.push(Paired {
                session: example.session,
                category: example.category.clone(),
                authored: example.authored(),
                new,
                candidate_nll: self.nll(Some(candidate), &in_use, &example.target)?,
                production_nll: self.nll(production, &in_use, &example.target)?,
                retrieval_nll: Some(retrieval_nll),
            });
            if i < self.shared.config.learning.checked_items {
                report.checked.push(Checked {
                    category: example.category.clone(),
                    new,
                    must_pass: false,
                    candidate: self.passes(Some(candidate), &in_use, example)?,
                    production: self.passes(production, &in_use, example)?,
                    retrieval: Some(self.passes(production, &retrieved, example)?),
                });
            }
        }
        Ok(report)
    }

    fn shots(&self, example: &Example) -> Vec<Shot> {
        let mut kept = self.shared.kept();
        let request = example.request();
        self.shared.shots(&mut kept, &example.surface, request, &example.lineage)
    }

    /// Negative log-likelihood of `target` in nats per token.
    fn nll(
        &self,
        adapter: Option<&Adapter>,
        prompt: &Prompt,
        target: &str,
    ) -> Result<f64, LearnerError> {
        let model = &self.shared.model;
        let sequence = prompt.sequence(model, target, self.shared.config.context_tokens)?;
        let logp = model.score(adapter, &sequence, self.stop)?;
        let sum: f64 = logp.iter().map(|&l| f64::from(l)).sum();
        Ok(-sum / logp.len().max(1) as f64)
    }

    /// Whether the text generated at temperature 0 is what the user wanted, or, on surfaces
    /// without one right text, at least sound.
    fn passes(
        &self,
        adapter: Option<&Adapter>,
        prompt: &Prompt,
        example: &Example,
    ) -> Result<bool, LearnerError> {
        let text = self.generate(adapter, prompt, &example.target)?;
        if self.shared.config.learning.exact {
            return Ok(text.trim() == example.target.trim());
        }
        Ok(!text.trim().is_empty() && !is_degenerate(&text))
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompt: &Prompt,
        target: &str,
    ) -> Result<String, LearnerError> {
        let model = &self.shared.model;
        let most = model.tokenizer().encode(target, Special::default()).len() + SPARE_TOKENS;
        let limit = self.shared.config.context_tokens.saturating_sub(most).max(1);
        let ids = prompt.tokens(model, limit)?;
        let mut cache = model.cache(ids.len() + most);
        let mut sampler = Sampler::new(Sampling::greedy())?;
        let mut logits = model.step(&mut cache, adapter, &ids)?;
        let mut made = Vec::new();
        while made.len() < most {
            if self.stop.is_requested() {
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
}

/// Tokens beyond the wanted text's own that a generated text may have before it is cut off.
const SPARE_TOKENS: usize = 16;
