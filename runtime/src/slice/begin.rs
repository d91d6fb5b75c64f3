//! Whether to train, and on what: everything that a run depends on, written down before its first
//! step.

use std::collections::{BTreeMap, HashSet};

use sapwood_models::Layout;

use super::Slice;
use super::evaluate;
use super::pace::unless_unusable;
use super::run::{Content, Lesson, Run};
use crate::error::LearnerError;
use crate::kept::Kept;
use crate::learn::example::{Example, Turn, judged};
use crate::learn::split::{Divided, divide};
use crate::learn::train::{TrainConfig, TrainState};
use crate::learn::trigger::{
    Confidence, Decision, Lesson as Stock, Observation, Situation, baseline, decide,
    usual_confidence,
};
use crate::measured::{Measured, Question};
use crate::memory::Memory;
use crate::prompt::{Prompt, Shot};
use crate::store::Digest;

/// Most tokens of an anchor's answer.
const ANCHOR_TOKENS: usize = 128;

impl Slice<'_> {
    /// Decides whether to train, and if so writes down everything that the run depends on.
    pub(super) fn begin(&mut self) -> Result<Result<Run, Decision>, LearnerError> {
        let shared = self.shared;
        let (divided, memory, parent, until, since) = {
            let kept = shared.kept();
            let divided = self.divided(&kept, u64::MAX);
            let situation = self.situation(&kept, &divided.train);
            let decision = decide(&situation, &shared.config.learning.trigger);
            if !decision.train {
                return Ok(Err(decision));
            }
            // What the gate will ask about must not be seen in training, not even as an example
            // shown.
            let kept_back = divided.holdout.iter().chain(&divided.shadow);
            let kept_back: HashSet<u128> = kept_back.flat_map(|e| e.lineage.clone()).collect();
            let memory = shared.memory(&kept, &kept_back);
            let parent = kept.store.active().map(|g| g.digest);
            let since = kept.store.course().last_promotion();
            (divided, memory, parent, kept.journal.newest_place(), since)
        };
        let started_ms = shared.now_ms();
        let lessons = self.lessons_of(&divided.train, &memory, since)?;
        let anchors = self.anchors(&memory)?;
        let config = &shared.config.learning.train;
        let state = self.first_state(parent, config)?;
        let content = Content {
            settings: self.settings(),
            base: shared.model.fingerprint(),
            started_ms,
            until,
            parent,
            seed: shared.config.seed ^ started_ms,
            new: lessons.new,
            replay: lessons.replay,
            anchors,
            lineage: lessons.lineage,
            examples: lessons.examples,
            left_out: lessons.left_out,
        };
        let run = Run::new(content, state);
        self.progress.measured = Measured::default();
        let mut kept = shared.kept();
        // A run must not outlive what it learns from: nobody could ask to have that forgotten.
        kept.journal.flush(shared.now_ms())?;
        if kept.store.load_checkpoint()?.is_some() {
            log::info!("the training run of another base model makes room for one of this");
        }
        drop(kept);
        self.save(&run)?;
        Ok(Ok(run))
    }

    /// What each example teaches, and which can't be learned from.
    fn lessons_of(
        &self,
        examples: &[Example],
        memory: &Memory,
        since: u64,
    ) -> Result<Lessons, LearnerError> {
        let mut out = Lessons::default();
        for example in examples {
            let lessons = self.lessons(memory, example)?;
            if lessons.is_empty() {
                out.left_out += 1;
                continue;
            }
            out.examples += 1;
            out.lineage.extend(&example.lineage);
            let is_new = example.authored() && example.order > since;
            if is_new { &mut out.new } else { &mut out.replay }.extend(lessons);
        }
        if out.left_out > 0 {
            log::warn!("{} examples are too long or unreadable, and are left out", out.left_out);
        }
        Ok(out)
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
        let shots =
            self.shared.shots_for(memory, &example.surface, &example.prompt, &example.lineage);
        let context = self.shared.config.context_tokens;
        let plain = Prompt::at(&example.prompt, Vec::new(), context);
        self.variants(plain, shots, &example.target, example.weight as f32)
    }

    /// The app's anchors with the base model's answers. Behind unrelated exchanges they teach the
    /// adapter not to copy what does not fit.
    fn anchors(&mut self, memory: &Memory) -> Result<Vec<Lesson>, LearnerError> {
        let shared = self.shared;
        let mut lessons = Vec::new();
        for anchor in &shared.config.learning.anchors {
            let prompt = Prompt { turns: anchor.turns.clone(), ..Prompt::default() };
            let Some(answer) = unless_unusable(self.answer(&prompt))? else { continue };
            let asked = anchor.turns.iter().cloned().collect();
            let shots = shared.shots_for(memory, &anchor.surface, &asked, &[]);
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
        let lessons = std::iter::once(plain).chain(behind).map(lesson);
        Ok(lessons
            .map(unless_unusable)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The examples up to a place in the journal's order, split by conversation.
    pub(super) fn divided(&self, kept: &Kept, until: u64) -> Divided {
        let shared = self.shared;
        let mut examples = shared.examples(kept);
        examples.retain(|e| e.order <= until);
        let since = |order| kept.store.course().promotions_after(order);
        divide(examples, &shared.config.seed.to_le_bytes(), shared.config.learning.split, since)
    }

    fn situation(&self, kept: &Kept, train: &[Example]) -> Situation {
        let shared = self.shared;
        let course = kept.store.course();
        let since = course.last_promotion();
        let now_ms = shared.now_ms();
        let scored = judged(kept.ledger.turns(), &shared.rules(kept));
        let default_rate = shared.config.learning.trigger.default_rate;
        let mut before = BTreeMap::<String, Vec<f64>>::new();
        for j in scored.iter().filter(|j| j.order <= since) {
            before.entry(j.category.clone()).or_default().push(j.badness());
        }
        let (since_then, earlier): (Vec<_>, Vec<_>) =
            kept.ledger.turns().iter().partition(|turn| turn.order > since);
        Situation {
            confidences: confidences(&since_then),
            usual_confidences: usual_confidence(&confidences(&earlier)),
            observations: scored
                .iter()
                .filter(|j| j.order > since)
                .map(|j| Observation { category: j.category.clone(), bad: j.badness() })
                .collect(),
            lessons: train
                .iter()
                .filter(|e| e.order > since)
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
            // A time that lies ahead was told by a wrong clock: nobody waits for it to come.
            last_trained_ms: course.judged_ms.filter(|judged_ms| *judged_ms <= now_ms),
            now_ms,
        }
    }
}

/// What examples teach.
#[derive(Default)]
struct Lessons {
    new: Vec<Lesson>,
    replay: Vec<Lesson>,
    lineage: Vec<u128>,
    examples: u32,
    left_out: u32,
}

/// How sure the model was of these answers, where that was recorded.
fn confidences(turns: &[&Turn]) -> Vec<Confidence> {
    let confidence = |turn: &&Turn| {
        let mean_probability = (-f64::from(turn.mean_nll?)).exp();
        Some(Confidence { category: turn.category.clone(), mean_probability })
    };
    turns.iter().filter_map(confidence).collect()
}
