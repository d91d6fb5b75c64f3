//! Whether to train, and on what: everything that a run depends on, written down before its first
//! step.

use std::collections::{BTreeMap, HashSet};

use sapwood_models::Layout;

use super::Slice;
use super::evaluate;
use super::measured::{Measured, Question};
use super::run::{Content, Lesson, Run};
use crate::error::LearnerError;
use crate::learn::example::{Example, Turn, judged};
use crate::learn::split::{Divided, divide};
use crate::learn::train::{TrainConfig, TrainState};
use crate::learn::trigger::{
    Confidence, Decision, Lesson as Stock, Observation, Situation, baseline, decide,
    usual_confidence,
};
use crate::memory::Memory;
use crate::prompt::{Prompt, Shot};
use crate::shared::Kept;
use crate::store::{Change, Digest, Event, Store};

/// Most tokens of an anchor's answer.
const ANCHOR_TOKENS: usize = 128;

impl Slice<'_> {
    /// Decides whether to train, and if so writes down everything that the run depends on.
    pub(super) fn begin(&mut self) -> Result<Result<Run, Decision>, LearnerError> {
        let shared = self.shared;
        let (divided, decision, parent) = {
            let kept = shared.kept();
            let divided = self.divided(&kept, u64::MAX);
            let situation = self.situation(&kept, &divided.train);
            let decision = decide(&situation, &shared.config.learning.trigger);
            (divided, decision, kept.store.active().map(|g| g.digest))
        };
        if !decision.train {
            return Ok(Err(decision));
        }
        let started_ms = shared.now_ms();
        let since = self.last_promotion_ms(&shared.kept().store);
        // What the gate will ask about must not be seen in training, not even as an example shown.
        let kept_back = divided.holdout.iter().chain(&divided.shadow);
        let kept_back: HashSet<u128> = kept_back.flat_map(|e| e.lineage.clone()).collect();
        let memory = shared.memory(&shared.kept(), &kept_back);
        let (mut new, mut replay) = (Vec::new(), Vec::new());
        let mut lineage: Vec<u128> = Vec::new();
        for example in &divided.train {
            lineage.extend(&example.lineage);
            let is_new = example.authored() && example.time_ms >= since;
            let target = if is_new { &mut new } else { &mut replay };
            target.extend(self.lessons(&memory, example)?);
        }
        let anchors = self.anchors(&memory)?;
        let config = &shared.config.learning.train;
        let state = self.first_state(parent, config)?;
        let content = Content {
            settings: self.settings(),
            started_ms,
            parent,
            seed: shared.config.seed ^ started_ms,
            new,
            replay,
            anchors,
            lineage,
            examples: divided.train.len() as u32,
        };
        let run = Run::new(content, state);
        self.progress.measured = Measured::default();
        // A run must not outlive what it learns from: nobody could ask to have that forgotten.
        shared.kept().journal.flush(shared.now_ms())?;
        self.save(&run)?;
        Ok(Ok(run))
    }

    /// From the adapter in force, so that little is learned twice; afresh if that one has another
    /// shape than the settings ask for.
    fn first_state(
        &self,
        parent: Option<Digest>,
        config: &TrainConfig,
    ) -> Result<TrainState, LearnerError> {
        let shared = self.shared;
        if let Some(digest) = parent {
            let bytes = shared.kept().store.adapter_bytes(&digest)?;
            let adapter = shared.load(&bytes)?;
            if *adapter.layout() == Layout::new(shared.model.arch(), &config.lora) {
                return Ok(TrainState::new(adapter.values()));
            }
        }
        Ok(TrainState::fresh(&shared.model, config, shared.config.seed))
    }

    /// An example becomes two lessons: as it is, and behind the past exchanges that retrieval
    /// would show. So the adapter learns to answer with them and without.
    fn lessons(&self, memory: &Memory, example: &Example) -> Result<Vec<Lesson>, LearnerError> {
        let shots = self.shared.shots(memory, &example.surface, &example.prompt, &example.lineage);
        let plain = Prompt::of(example, Vec::new());
        self.variants(plain, shots, &example.target, example.weight as f32)
    }

    /// The app's anchors with the base model's answers. Behind unrelated exchanges they teach the
    /// adapter not to copy what does not fit.
    fn anchors(&mut self, memory: &Memory) -> Result<Vec<Lesson>, LearnerError> {
        let shared = self.shared;
        let mut lessons = Vec::new();
        for anchor in &shared.config.learning.anchors {
            let prompt = Prompt { turns: anchor.turns.clone(), ..Prompt::default() };
            let answer = self.answer(&prompt)?;
            let shots = shared.shots(memory, &anchor.surface, &anchor.turns, &[]);
            lessons.extend(self.variants(prompt, shots, &answer, 1.0)?);
        }
        Ok(lessons)
    }

    /// What the base model answers; asked once per process.
    fn answer(&mut self, prompt: &Prompt) -> Result<String, LearnerError> {
        let ids = evaluate::prompt_ids(self.shared, prompt, ANCHOR_TOKENS)?;
        let key = Question::new("answer", None).tokens(&ids).key();
        if let Some(known) = self.progress.answers.get(&key) {
            return Ok(known.clone());
        }
        let shared = self.shared;
        let answer =
            self.pace.piece(|stop| Ok(shared.model.greedy(None, &ids, ANCHOR_TOKENS, stop)?))?;
        self.progress.answers.insert(key, answer.clone());
        Ok(answer)
    }

    fn variants(
        &self,
        plain: Prompt,
        shots: Vec<Shot>,
        answer: &str,
        weight: f32,
    ) -> Result<Vec<Lesson>, LearnerError> {
        let behind = (!shots.is_empty()).then(|| Prompt { shots, ..plain.clone() });
        let limit = self.shared.config.context_tokens;
        let lesson = |prompt: Prompt| {
            let sequence = prompt.sequence(&self.shared.model, answer, limit)?;
            let prompt_len = sequence.targets.iter().take_while(|t| !**t).count() as u32;
            Ok(Lesson { ids: sequence.ids, prompt_len, weight })
        };
        std::iter::once(plain).chain(behind).map(lesson).collect()
    }

    /// The examples up to `until_ms`, split by conversation.
    pub(super) fn divided(&self, kept: &Kept, until_ms: u64) -> Divided {
        let shared = self.shared;
        let mut examples = shared.examples(kept);
        examples.retain(|e| e.time_ms <= until_ms);
        let promotions: Vec<u64> = promotions(kept.store.events(), shared.now_ms()).collect();
        let since = |time_ms| promotions.iter().filter(|&&p| p > time_ms).count() as u32;
        // Likeness by embeddings is what retrieval goes by; the split goes by words.
        divide(
            examples,
            &shared.config.seed.to_le_bytes(),
            shared.config.learning.split,
            since,
            |_, _| 0.0,
        )
    }

    fn situation(&self, kept: &Kept, train: &[Example]) -> Situation {
        let shared = self.shared;
        let since = self.last_promotion_ms(&kept.store);
        let scored = judged(kept.ledger.turns(), &shared.rules(kept));
        let default_rate = shared.config.learning.trigger.default_rate;
        let mut before = BTreeMap::<String, Vec<f64>>::new();
        for j in scored.iter().filter(|j| j.time_ms < since) {
            before.entry(j.category.clone()).or_default().push(j.badness());
        }
        let (since_then, earlier): (Vec<_>, Vec<_>) =
            kept.ledger.turns().iter().partition(|turn| turn.time_ms >= since);
        Situation {
            confidences: confidences(&since_then),
            usual_confidences: usual_confidence(&confidences(&earlier)),
            observations: scored
                .iter()
                .filter(|j| j.time_ms >= since)
                .map(|j| Observation { category: j.category.clone(), bad: j.badness() })
                .collect(),
            lessons: train
                .iter()
                .filter(|e| e.time_ms >= since)
                .map(|e| Stock {
                    category: e.category.clone(),
                    session: e.session,
                    weight: e.weight,
                })
                .collect(),
            baselines: before
                .into_iter()
                .map(|(category, bads)| (category, baseline(&bads, default_rate)))
                .collect(),
            last_trained_ms: kept.store.events().last().map(|e| e.time_ms),
            now_ms: shared.now_ms(),
        }
    }

    pub(super) fn last_promotion_ms(&self, store: &Store) -> u64 {
        promotions(store.events(), self.shared.now_ms()).max().unwrap_or(0)
    }
}

/// When adapters were confirmed. What lies ahead was written under a wrong clock: it would make
/// everything that the user says until then old.
fn promotions(events: &[Event], now_ms: u64) -> impl Iterator<Item = u64> {
    let confirmed = events.iter().filter(|event| event.change == Change::Confirmed);
    confirmed.map(|event| event.time_ms).filter(move |time_ms| *time_ms <= now_ms)
}

/// How sure the model was of these answers, where that was recorded.
fn confidences(turns: &[&Turn]) -> Vec<Confidence> {
    let confidence = |turn: &&Turn| {
        let mean_probability = (-f64::from(turn.mean_nll?)).exp();
        Some(Confidence { category: turn.category.clone(), mean_probability })
    };
    turns.iter().filter_map(confidence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_that_lies_ahead_is_none() {
        let event = |time_ms, change| Event { time_ms, digest: [0; 32], change };
        let events =
            [event(5, Change::Confirmed), event(6, Change::Proposed), event(50, Change::Confirmed)];
        let until = |now_ms| promotions(&events, now_ms).collect::<Vec<_>>();
        assert_eq!([until(4), until(5), until(49)], [vec![], vec![5], vec![5]]);
        assert_eq!(until(50), [5, 50]);
    }
}
