//! What the host decides when it opens a learner.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sapwood_models::Message;

use crate::learn::batch::Mix;
use crate::learn::gate::Thresholds;
use crate::learn::train::TrainConfig;
use crate::learn::{split, trigger, watch};
use crate::policy::Policy;
use crate::vault::{HostKey, KeyProvider};

/// Tells the time in milliseconds since 1970. The library has no clock of its own.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How past exchanges are shown to the model again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    /// Off: replies depend on the adapter alone.
    pub enabled: bool,
    /// Most examples in one prompt.
    pub examples: usize,
    /// Most tokens that the examples may take.
    pub token_budget: usize,
    /// Examples less similar than this (0 to 1) are not shown.
    pub min_similarity: f32,
}

impl Default for Retrieval {
    fn default() -> Self {
        Retrieval { enabled: true, examples: 3, token_budget: 384, min_similarity: 0.2 }
    }
}

/// A prompt whose answer should stay as the base model gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchor {
    /// Part of the app.
    pub surface: String,
    /// The conversation; the last turn is the user's.
    pub turns: Vec<Message>,
}

/// When and how the learner trains.
#[derive(Clone, Debug)]
pub struct Learning {
    /// What the device must be like.
    pub policy: Policy,
    /// What has to have happened before it trains.
    pub trigger: trigger::Rules,
    /// Shape, optimizer and length of a run.
    pub train: TrainConfig,
    /// Shares of new examples, replay and anchors.
    pub mix: Mix,
    /// Most times that a run sees one lesson of the user's; with little to learn from it ends before
    /// `train.steps`. What a model hears often it can repeat: `tests/tests/memorization` measures
    /// how much of a secret stays.
    pub passes: u32,
    /// Prompts that hold the model to what it can do: answered by the base model when a run
    /// begins, and trained on beside the user's examples (self-synthesised rehearsal, arXiv
    /// 2403.01244). An app ships a few dozen that are typical of its surfaces.
    pub anchors: Vec<Anchor>,
    /// Which conversations train and which are kept for the gate.
    pub split: split::Shares,
    /// What a candidate must show before it is put in force.
    pub thresholds: Thresholds,
    /// What makes it go again.
    pub watch: watch::Limits,
    /// Replies have one right text (labels, JSON): the gate compares generated text with what the
    /// user wanted, to the letter. Otherwise it only refuses degenerate text.
    pub exact: bool,
    /// Most held-out items for which the gate generates text.
    pub checked_items: usize,
    /// Updates between two checkpoints; a kill loses at most this many.
    pub checkpoint_steps: u32,
}

impl Default for Learning {
    fn default() -> Self {
        Learning {
            policy: Policy::default(),
            trigger: trigger::Rules::default(),
            train: TrainConfig::default(),
            mix: Mix::default(),
            passes: 3,
            anchors: Vec::new(),
            split: split::Shares::default(),
            thresholds: Thresholds::default(),
            watch: watch::Limits::default(),
            exact: false,
            checked_items: 60,
            checkpoint_steps: 10,
        }
    }
}

/// How long what the user did is kept. Beyond either limit the oldest goes, in whole segments of
/// the journal, each a few hours or days of use; the last twelve hours stay. What adapters learned
/// from it stays learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most milliseconds.
    pub max_age_ms: u64,
    /// Most bytes on disk.
    pub max_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { max_age_ms: 90 * 24 * 3_600_000, max_bytes: 32 << 20 }
    }
}

/// Everything a learner is opened with.
#[derive(Clone)]
pub struct Config {
    /// Folder of the journal, the adapters and the checkpoints; made if it is absent. Keep it out
    /// of backups: a restored backup brings back what was forgotten.
    pub dir: PathBuf,
    /// Holds the keys that seal everything in the folder.
    pub keys: Arc<dyn KeyProvider>,
    /// Most tokens of prompt and reply together.
    pub context_tokens: usize,
    /// Retrieval of past exchanges.
    pub retrieval: Retrieval,
    /// How long what the user did is kept.
    pub retention: Retention,
    /// Training and judging.
    pub learning: Learning,
    /// Names the random streams of ids, initial weights and batches.
    pub seed: u64,
    /// Draws ids from `seed` and the clock instead of the system's randomness, so that a whole
    /// history can be played again. For demonstrations and tests: ids are then no secret.
    pub reproducible: bool,
    /// The host's clock.
    pub clock: Clock,
}

impl Config {
    /// Defaults for a store in `dir`, sealed with one key of the host ([`HostKey`]: 32 secret random
    /// bytes, from the platform's key store), with the system's clock.
    pub fn new(dir: impl Into<PathBuf>, key: [u8; 32]) -> Config {
        Config::with_keys(dir, Arc::new(HostKey::new(key)))
    }

    /// The same for a store whose keys `keys` holds.
    pub fn with_keys(dir: impl Into<PathBuf>, keys: Arc<dyn KeyProvider>) -> Config {
        Config {
            dir: dir.into(),
            keys,
            context_tokens: 2048,
            retrieval: Retrieval::default(),
            retention: Retention::default(),
            learning: Learning::default(),
            seed: 0,
            reproducible: false,
            clock: Arc::new(system_ms),
        }
    }
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
