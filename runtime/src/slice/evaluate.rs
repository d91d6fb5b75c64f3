//! Measuring a candidate against the adapter in force, on what the user wrote or used.

use sapwood_models::{Adapter, Stop};

use super::exposed::exposed;
use super::pace::{Pace, unless_stopped, unless_unusable};
use crate::error::LearnerError;
use crate::learn::example::Example;
use crate::learn::gate::{Checked, Paired, Report};
use crate::measured::{Key, Measured, Question};
use crate::memory::Memory;
use crate::prompt::Prompt;
use crate::shared::Shared;
use crate::verify::is_degenerate;

/// Which arm is asked.
#[derive(Clone, Copy)]
enum Side {
    Candidate,
    Production,
}

/// What each arm comes to.
struct Arms<T> {
    production: T,
    candidate: T,
    /// Production with retrieval.
    retrieval: T,
}

/// Both arms are measured as they are in use: with retrieval if it is switched on, at
/// temperature 0.
pub(super) struct Evaluation<'a> {
    pub shared: &'a Shared,
    pub candidate: &'a Adapter,
    /// `None` is the base model.
    pub production: Option<&'a Adapter>,
    pub memory: &'a Memory,
    /// Whether replies are made with retrieval.
    pub retrieval: bool,
    /// Place of the last promotion: examples behind it are new.
    pub since: u64,
}

/// A measurement under way: what is known already, and how long it may go on.
pub(super) struct Work<'w, 'a> {
    pub measured: &'w mut Measured,
    pub pace: &'w mut Pace<'a>,
}

impl Work<'_, '_> {
    /// Measures what is not known yet.
    pub fn once(
        &mut self,
        key: Key,
        measure: impl FnOnce(&Stop) -> Result<f64, LearnerError>,
    ) -> Result<f64, LearnerError> {
        if let Some(known) = self.measured.get(key) {
            return Ok(known);
        }
        let value = self.pace.piece(measure)?;
        self.measured.insert(key, value);
        Ok(value)
    }
}

impl Evaluation<'_> {
    /// Everything that the gate asks for; `None` if a stop or the end of the slice came first.
    pub fn report(
        &self,
        held_out: &[Example],
        trained: &[Example],
        attempt: u32,
        work: &mut Work<'_, '_>,
    ) -> Result<Option<Report>, LearnerError> {
        unless_stopped(self.measure(held_out, trained, attempt, work))
    }

    fn measure(
        &self,
        held_out: &[Example],
        trained: &[Example],
        attempt: u32,
        work: &mut Work<'_, '_>,
    ) -> Result<Report, LearnerError> {
        let mut report = Report { attempt, ..Report::default() };
        for example in held_out {
            let new = example.authored() && example.order > self.since;
            // What no model can be asked says nothing about any.
            let Some(paired) = unless_unusable(self.paired(example, new, work))? else { continue };
            report.paired.push(paired);
            if report.checked.len() < self.shared.config.learning.checked_items {
                report.checked.extend(unless_unusable(self.checked(example, new, work))?);
            }
        }
        report.exposed = exposed(self.shared, self.candidate, trained, work)?;
        Ok(report)
    }

    fn paired(
        &self,
        example: &Example,
        new: bool,
        work: &mut Work<'_, '_>,
    ) -> Result<Paired, LearnerError> {
        let nll = self.arms(|side, retrieval| self.nll(side, retrieval, example, work))?;
        Ok(Paired {
            session: example.session,
            category: example.category.clone(),
            authored: example.authored(),
            new,
            candidate_nll: nll.candidate,
            production_nll: nll.production,
            retrieval_nll: Some(nll.retrieval),
        })
    }

    fn checked(
        &self,
        example: &Example,
        new: bool,
        work: &mut Work<'_, '_>,
    ) -> Result<Checked, LearnerError> {
        let passes = self.arms(|side, retrieval| self.passes(side, retrieval, example, work))?;
        Ok(Checked {
            category: example.category.clone(),
            new,
            candidate: passes.candidate,
            production: passes.production,
            retrieval: Some(passes.retrieval),
        })
    }

    /// Asks every arm; production with retrieval only where production goes without.
    fn arms<T: Copy>(
        &self,
        mut ask: impl FnMut(Side, bool) -> Result<T, LearnerError>,
    ) -> Result<Arms<T>, LearnerError> {
        let production = ask(Side::Production, self.retrieval)?;
        let candidate = ask(Side::Candidate, self.retrieval)?;
        let retrieval = if self.retrieval { production } else { ask(Side::Production, true)? };
        Ok(Arms { production, candidate, retrieval })
    }

    fn adapter(&self, side: Side) -> Option<&Adapter> {
        match side {
            Side::Candidate => Some(self.candidate),
            Side::Production => self.production,
        }
    }

    fn prompt(&self, retrieval: bool, example: &Example) -> Prompt {
        let recall = || {
            let Example { surface, lineage, .. } = example;
            self.shared.shots_for(self.memory, surface, &example.prompt, lineage)
        };
        let shots = if retrieval { recall() } else { Vec::new() };
        Prompt::at(&example.prompt, shots, self.shared.config.context_tokens)
    }

    /// Negative log-likelihood of what the user wanted, in nats per token.
    fn nll(
        &self,
        side: Side,
        retrieval: bool,
        example: &Example,
        work: &mut Work<'_, '_>,
    ) -> Result<f64, LearnerError> {
        let (model, adapter) = (&self.shared.model, self.adapter(side));
        let prompt = self.prompt(retrieval, example);
        let limit = self.shared.config.context_tokens;
        let sequence = prompt.sequence(model, &example.target, limit)?;
        let question = Question::new("likelihood", adapter.map(Adapter::digest));
        let key = question.tokens(&sequence.ids).number(sequence.target_count()).key();
        work.once(key, |stop| {
            let logp = model.score(adapter, &sequence, stop)?;
            let sum: f64 = logp.iter().map(|&l| f64::from(l)).sum();
            Ok(-sum / logp.len().max(1) as f64)
        })
    }

    /// Whether the text generated at temperature 0 is what the user wanted, or, on surfaces
    /// without one right text, at least sound.
    fn passes(
        &self,
        side: Side,
        retrieval: bool,
        example: &Example,
        work: &mut Work<'_, '_>,
    ) -> Result<bool, LearnerError> {
        let (shared, adapter) = (self.shared, self.adapter(side));
        let most = shared.request_ids(&example.target).len() + SPARE_TOKENS;
        let ids = prompt_ids(shared, &self.prompt(retrieval, example), most)?;
        let wanted = shared.config.learning.exact.then(|| example.target.trim());
        let question = Question::new("check", adapter.map(Adapter::digest));
        let question = question.tokens(&ids).number(most).number(wanted.is_some().into());
        let key = question.bytes(wanted.unwrap_or_default().as_bytes()).key();
        let passed = work.once(key, |stop| {
            let text = shared.model.greedy(adapter, &ids, most, stop)?;
            let passes = match wanted {
                Some(wanted) => text.trim() == wanted,
                None => !text.trim().is_empty() && !is_degenerate(&text),
            };
            Ok(f64::from(u8::from(passes)))
        })?;
        Ok(passed > 0.0)
    }
}

/// Tokens beyond the wanted text's own that a generated text may have before it is cut off.
const SPARE_TOKENS: usize = 16;

/// The tokens of a prompt that leaves room for a reply of `most`.
pub(super) fn prompt_ids(
    shared: &Shared,
    prompt: &Prompt,
    most: usize,
) -> Result<Vec<u32>, LearnerError> {
    prompt.tokens(&shared.model, shared.config.context_tokens.saturating_sub(most).max(1))
}
