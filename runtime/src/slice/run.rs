//! What a training run is about, as it lies in the checkpoint: everything that its next step
//! depends on, so that a resumed run needs nothing but this.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use sapwood_models::{Layout, Model, Sequence};

use crate::learn::batch::{Mix, Plan, Source};
use crate::learn::optimizer::Moments;
use crate::learn::train::{TrainConfig, TrainState};
use crate::store::{Digest, digest_of};

use crate::measured::Measured;

/// First bytes of a checkpoint, with its version. One of another version is dropped, and the run
/// with it: its lessons are still in the journal.
const FORMAT: [u8; 4] = *b"SWR4";

/// One sequence to train on.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(super) struct Lesson {
    pub ids: Vec<u32>,
    pub prompt_len: u32,
    pub weight: f32,
}

/// A run between its first and its last step.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// SHA-256 of the settings: a run is not continued under others.
    pub settings: [u8; 32],
    /// Fingerprint of the base model that it trains on.
    pub base: [u8; 32],
    pub started_ms: u64,
    /// What is recorded behind this place came after it began: it is not judged on that.
    pub until: u64,
    /// The adapter that the run starts from.
    pub parent: Option<[u8; 32]>,
    pub seed: u64,
    /// Written or corrected by the user since the last promotion.
    pub new: Vec<Lesson>,
    /// What worked: accepted replies, and older lessons.
    pub replay: Vec<Lesson>,
    /// The base model's own answers to the app's anchors.
    pub anchors: Vec<Lesson>,
    /// Replies that the lessons come from.
    pub lineage: Vec<u128>,
    pub examples: u32,
    /// Examples that no lesson could be made of.
    pub left_out: u32,
    /// What made the last update; before the first, nothing. Another device gives other last bits,
    /// so a run that changed devices is not to be repeated to the bit.
    pub device: String,
    state: State,
}

/// [`TrainState`], archived.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
struct State {
    step: u32,
    micro: u32,
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    updates: u32,
    gradient: Vec<f32>,
    partial: (f64, f64),
    losses: Vec<f32>,
    skipped: u32,
    tokens: u64,
    update_tokens: u64,
}

/// What a run is made of before its first step.
pub(super) struct Content {
    pub settings: Digest,
    pub base: Digest,
    pub started_ms: u64,
    pub until: u64,
    pub parent: Option<Digest>,
    pub seed: u64,
    pub new: Vec<Lesson>,
    pub replay: Vec<Lesson>,
    pub anchors: Vec<Lesson>,
    pub lineage: Vec<u128>,
    pub examples: u32,
    pub left_out: u32,
}

impl Run {
    pub fn new(content: Content, state: TrainState) -> Run {
        let Content { settings, base, started_ms, until, parent, seed, .. } = content;
        let Content { new, replay, anchors, lineage, examples, left_out, .. } = content;
        let mut run = Run {
            settings,
            base,
            started_ms,
            until,
            parent,
            seed,
            new,
            replay,
            anchors,
            lineage,
            examples,
            left_out,
            device: String::new(),
            state: State::default(),
        };
        run.set_state(&state);
        run
    }

    /// The settings' digest, from whatever describes them in full.
    pub fn settings_digest(settings: &str) -> Digest {
        digest_of(settings.as_bytes())
    }

    /// Updates made.
    pub fn step(&self) -> u32 {
        self.state.step
    }

    /// Mean loss of each update.
    pub fn losses(&self) -> &[f32] {
        &self.state.losses
    }

    /// Tokens trained on.
    pub fn tokens(&self) -> u64 {
        self.state.tokens
    }

    /// The order of the lessons.
    pub fn plan(&self, mix: Mix, batch: u32) -> Plan {
        let sizes = [self.new.len(), self.replay.len(), self.anchors.len()];
        Plan::new(self.seed, mix, sizes, batch as usize)
    }

    pub fn lesson(&self, source: Source, index: usize) -> &Lesson {
        match source {
            Source::New => &self.new[index],
            Source::Replay => &self.replay[index],
            Source::Anchor => &self.anchors[index],
        }
    }

    pub fn set_state(&mut self, state: &TrainState) {
        self.state = State {
            step: state.step,
            micro: state.micro,
            values: state.values.clone(),
            mean: state.moments.mean.clone(),
            square: state.moments.square.clone(),
            updates: state.moments.updates,
            gradient: state.gradient.clone(),
            partial: state.partial,
            losses: state.losses.clone(),
            skipped: state.skipped,
            tokens: state.tokens,
            update_tokens: state.update_tokens,
        };
    }

    /// Takes the trainer's state out; it goes back with [`Run::set_state`].
    pub fn take_state(&mut self) -> TrainState {
        let state = std::mem::take(&mut self.state);
        TrainState {
            step: state.step,
            micro: state.micro,
            values: state.values,
            moments: Moments { mean: state.mean, square: state.square, updates: state.updates },
            gradient: state.gradient,
            partial: state.partial,
            losses: state.losses,
            skipped: state.skipped,
            tokens: state.tokens,
            update_tokens: state.update_tokens,
        }
    }

    /// Whether its state and its lessons are for this model: a checkpoint is authentic, but the file
    /// of the model may have been exchanged under its fingerprint's back.
    pub fn fits(&self, model: &Model, config: &TrainConfig) -> bool {
        let values = self.state.values.len();
        let vocab = model.arch().vocab as u32;
        let mut ids = [&self.new, &self.replay, &self.anchors].into_iter().flatten();
        values == Layout::new(model.arch(), &config.lora).len()
            && ids.all(|lesson| lesson.ids.iter().all(|id| *id < vocab))
    }

    /// SHA-256 of all of it.
    pub fn digest(&self) -> Digest {
        digest_of(&self.archive())
    }

    fn archive(&self) -> Vec<u8> {
        let bytes = rkyv::to_bytes::<rancor::Error>(self);
        bytes.expect("plain data always archives").into_vec()
    }

    /// The bytes of a checkpoint: version, length of the archive, archive, measurements.
    pub fn checkpoint(&self, measured: &Measured) -> Vec<u8> {
        let archive = self.archive();
        let length = (archive.len() as u64).to_le_bytes();
        [&FORMAT[..], &length, &archive, &measured.to_bytes()].concat()
    }

    /// What a checkpoint holds; `None` for one of another version.
    pub fn from_checkpoint(bytes: &[u8]) -> Option<(Run, Measured)> {
        let (length, rest) = bytes.strip_prefix(&FORMAT)?.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (archive, measured) = rest.split_at_checked(length)?;
        let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
        aligned.extend_from_slice(archive);
        let run = rkyv::from_bytes::<Run, rancor::Error>(&aligned).ok()?;
        Some((run, Measured::from_bytes(measured)?))
    }
}

/// The replies that a checkpoint's run learns from; `None` if it can't be read.
pub(crate) fn checkpoint_lineage(bytes: &[u8]) -> Option<Vec<u128>> {
    Run::from_checkpoint(bytes).map(|(run, _)| run.lineage)
}

impl Lesson {
    pub fn sequence(&self) -> Sequence {
        Sequence::after_prompt(self.ids.clone(), self.prompt_len as usize)
    }
}
