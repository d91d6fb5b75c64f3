//! What an app decides when it opens a learner.

use std::fmt;
use std::time::Duration;

use runtime::{Anchor as RuntimeAnchor, Config as RuntimeConfig, Learning};

use crate::chat::Message;
use crate::error::LearnerError;

/// Everything a learner is opened with.
#[derive(Clone, uniffi::Record)]
pub struct Config {
    /// Folder of all that is kept; made if it is absent. Keep it out of backups: a restored backup
    /// brings back what was forgotten.
    pub folder: String,
    /// 32 random bytes that seal the folder. Keep them in the platform's key store.
    pub key: Vec<u8>,
    /// A GGUF model file; none for the model in the library.
    #[uniffi(default = None)]
    pub model: Option<String>,
    /// Most tokens of prompt and reply together.
    #[uniffi(default = 2048)]
    pub context_tokens: u32,
    /// Compute threads; none for one per core.
    #[uniffi(default = None)]
    pub threads: Option<u32>,
    /// Shows past exchanges to the model again: what the user corrected works at once.
    #[uniffi(default = true)]
    pub retrieval: bool,
    /// Prompts whose answers should stay as the model gives them: a few dozen that are typical of
    /// the app.
    #[uniffi(default = [])]
    pub anchors: Vec<Anchor>,
    /// When and how it trains; none for the defaults.
    #[uniffi(default = None)]
    pub training: Option<TrainPolicy>,
}

impl fmt::Debug for Config {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("folder", &self.folder).field("model", &self.model).finish()
    }
}

/// A prompt that holds the model to what it can do.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Anchor {
    /// The part of the app.
    pub surface: String,
    /// The conversation; the last turn is the user's.
    pub turns: Vec<Message>,
}

/// When and how a learner trains.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct TrainPolicy {
    /// Examples that one kind of request needs before it is worth a run.
    #[uniffi(default = 12)]
    pub examples: u32,
    /// Conversations that they come from, at least.
    #[uniffi(default = 2)]
    pub conversations: u32,
    /// Rest between two runs; none for a day.
    #[uniffi(default = None)]
    pub cooldown: Option<Duration>,
    /// Updates in a run.
    #[uniffi(default = 200)]
    pub steps: u32,
    /// Examples per update.
    #[uniffi(default = 8)]
    pub batch: u32,
    /// Rank of the adapter: how much it can learn, 1 to 256.
    #[uniffi(default = 8)]
    pub rank: u32,
    /// Peak learning rate.
    #[uniffi(default = 0.001)]
    pub learning_rate: f32,
    /// Updates between two checkpoints: a kill loses at most this many.
    #[uniffi(default = 10)]
    pub checkpoint_steps: u32,
    /// Replies have one right text (labels, JSON): a candidate is held to it, to the letter.
    #[uniffi(default = false)]
    pub exact: bool,
}

impl Default for TrainPolicy {
    fn default() -> TrainPolicy {
        let Learning { trigger, train, exact, checkpoint_steps, .. } = Learning::default();
        TrainPolicy {
            examples: trigger.category_examples as u32,
            conversations: trigger.sessions as u32,
            cooldown: None,
            steps: train.steps,
            batch: train.batch,
            rank: train.lora.rank as u32,
            learning_rate: train.optimizer.learning_rate,
            checkpoint_steps,
            exact,
        }
    }
}

impl TrainPolicy {
    fn check(&self) -> Result<(), LearnerError> {
        let rules = [
            (self.steps > 0, "training.steps must be above 0"),
            (self.batch > 0, "training.batch must be above 0"),
            ((1..=256).contains(&self.rank), "training.rank must be 1 to 256"),
            (
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
                "training.learning_rate must be above 0",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(LearnerError::invalid(rule)),
            None => Ok(()),
        }
    }

    fn apply(self, learning: &mut Learning) {
        // What suffices in one kind of request suffices twice over all of them.
        learning.trigger.category_examples = f64::from(self.examples);
        learning.trigger.all_examples = 2.0 * f64::from(self.examples);
        learning.trigger.sessions = self.conversations as usize;
        if let Some(cooldown) = self.cooldown {
            learning.trigger.cooldown_ms = u64::try_from(cooldown.as_millis()).unwrap_or(u64::MAX);
        }
        learning.train.steps = self.steps;
        learning.train.batch = self.batch;
        // Alpha follows the rank, so that the rate means the same for every rank.
        let lora = &mut learning.train.lora;
        lora.alpha *= self.rank as f32 / lora.rank as f32;
        lora.rank = self.rank as usize;
        learning.train.optimizer.learning_rate = self.learning_rate;
        learning.checkpoint_steps = self.checkpoint_steps;
        learning.exact = self.exact;
    }
}

impl Config {
    /// The runtime's settings, or what is wrong with these.
    pub(crate) fn check(self) -> Result<RuntimeConfig, LearnerError> {
        let key = <[u8; 32]>::try_from(self.key)
            .map_err(|key| LearnerError::invalid(format!("key has {} bytes, not 32", key.len())))?;
        if self.context_tokens == 0 {
            return Err(LearnerError::invalid("context_tokens must be above 0"));
        }
        if self.threads == Some(0) {
            return Err(LearnerError::invalid("threads must be above 0; none for one per core"));
        }
        let mut config = RuntimeConfig::new(self.folder, key);
        config.context_tokens = self.context_tokens as usize;
        config.retrieval.enabled = self.retrieval;
        let anchor = |anchor: Anchor| RuntimeAnchor {
            surface: anchor.surface,
            turns: anchor.turns.into_iter().map(Into::into).collect(),
        };
        config.learning.anchors = self.anchors.into_iter().map(anchor).collect();
        let training = self.training.unwrap_or_default();
        training.check()?;
        training.apply(&mut config.learning);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            folder: "folder".into(),
            key: vec![7; 32],
            model: None,
            context_tokens: 2048,
            threads: None,
            retrieval: true,
            anchors: Vec::new(),
            training: None,
        }
    }

    /// As the attributes above say, for the other languages.
    fn written() -> TrainPolicy {
        TrainPolicy {
            examples: 12,
            conversations: 2,
            cooldown: None,
            steps: 200,
            batch: 8,
            rank: 8,
            learning_rate: 0.001,
            checkpoint_steps: 10,
            exact: false,
        }
    }

    #[test]
    fn the_written_defaults_are_the_runtimes() {
        assert_eq!(written(), TrainPolicy::default());
        let ours = config().check().unwrap();
        let theirs = RuntimeConfig::new("folder", [7; 32]);
        assert_eq!(ours.context_tokens, theirs.context_tokens);
        assert_eq!(ours.retrieval, theirs.retrieval);
        assert_eq!(format!("{:?}", ours.learning), format!("{:?}", theirs.learning));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let refused = |config: Config| match config.check() {
            Err(LearnerError::Invalid { detail }) => detail,
            other => panic!("{:?}", other.map(|_| "accepted")),
        };
        let detail = refused(Config { key: vec![7; 31], ..config() });
        assert!(detail.contains("31"), "{detail}");
        assert!(refused(Config { context_tokens: 0, ..config() }).contains("context_tokens"));
        assert!(refused(Config { threads: Some(0), ..config() }).contains("threads"));
        let with = |training: TrainPolicy| Config { training: Some(training), ..config() };
        assert!(refused(with(TrainPolicy { steps: 0, ..written() })).contains("steps"));
        assert!(refused(with(TrainPolicy { batch: 0, ..written() })).contains("batch"));
        assert!(refused(with(TrainPolicy { rank: 257, ..written() })).contains("rank"));
        let rate = TrainPolicy { learning_rate: f32::NAN, ..written() };
        assert!(refused(with(rate)).contains("learning_rate"));
    }

    #[test]
    fn the_key_is_never_printed() {
        assert!(!format!("{:?}", config()).contains("7, 7"));
    }
}
