//! What an app decides when it opens a learner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use runtime::policy::Policy;
use runtime::vault::{self, HostKey, Passphrase};
use runtime::{Anchor as RuntimeAnchor, Config as RuntimeConfig, Learning};

use crate::chat::Message;
use crate::device::{Device, Thermal};
use crate::error::LearnerError;
use crate::keys::{KeyProvider, TheirKeys};

/// Everything a learner is opened with: a folder, and one of `key`, `passphrase` and
/// `key_provider` to seal it.
#[derive(Clone, uniffi::Record)]
pub struct Config {
    /// Folder of all that is kept; made if it is absent. Keep it out of backups: a restored backup
    /// brings back what was forgotten.
    pub folder: String,
    /// 32 random bytes, the same every time. Keep them secret, outside the folder.
    #[uniffi(default = None)]
    pub key: Option<Vec<u8>>,
    /// What somebody types, for desktops and tests: guessing it costs time, but not for ever.
    #[uniffi(default = None)]
    pub passphrase: Option<String>,
    /// The platform's key store. Only with it can what was forgotten be shredded.
    #[uniffi(default = None)]
    pub key_provider: Option<Arc<dyn KeyProvider>>,
    /// A GGUF model file; none for the model in the library.
    #[uniffi(default = None)]
    pub model: Option<String>,
    /// Most tokens of prompt and reply together.
    #[uniffi(default = 2048)]
    pub context_tokens: u32,
    /// Compute threads; none for one per core.
    #[uniffi(default = None)]
    pub threads: Option<u32>,
    /// Where the model computes; none for `Auto`.
    #[uniffi(default = None)]
    pub device: Option<Device>,
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
    /// What the device must be like for it; none for the defaults.
    #[uniffi(default = None)]
    pub idle: Option<IdlePolicy>,
    /// How long what the user did is kept, twelve hours at least; none for 90 days. What was
    /// learned from it stays.
    #[uniffi(default = None)]
    pub keep_for: Option<Duration>,
    /// Most bytes of it on disk: beyond, the oldest goes; none for 32 MiB.
    #[uniffi(default = None)]
    pub keep_bytes: Option<u64>,
}

impl fmt::Debug for Config {
    /// Without the keys.
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
    /// Most updates in a run.
    #[uniffi(default = 200)]
    pub steps: u32,
    /// Most times that a run sees one example: what a model hears often it can repeat.
    #[uniffi(default = 3)]
    pub passes: u32,
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

/// What the device must be like for training, and how much of it training may take. How long a
/// slice lasts is said in `Learner::train_slice`.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct IdlePolicy {
    /// Only on external power.
    #[uniffi(default = true)]
    pub need_charging: bool,
    /// Only while nobody uses the device.
    #[uniffi(default = true)]
    pub need_idle: bool,
    /// Not below this charge, where it is known.
    #[uniffi(default = 20)]
    pub least_battery_percent: u8,
    /// Not when it is hotter; none for `Fair`.
    #[uniffi(default = None)]
    pub hottest: Option<Thermal>,
    /// Most memory that training may take beside the model's file; none: half of what the device
    /// says is free, if it says so. A slice that would take more does not begin.
    #[uniffi(default = None)]
    pub memory_bytes: Option<u64>,
    /// Share of one core, unless the device is charging and cool. Above 0; 2 is two cores.
    #[uniffi(default = 0.7)]
    pub cpu_share: f64,
    /// Rest after the second slice in a row that was killed, four times as long after each further
    /// one, a day at most; none for 15 minutes.
    #[uniffi(default = None)]
    pub back_off: Option<Duration>,
}

impl IdlePolicy {
    /// The runtime's policy, or what is wrong with this one.
    fn check(self) -> Result<Policy, LearnerError> {
        if self.least_battery_percent > 100 {
            return Err(LearnerError::invalid("idle.least_battery_percent must be 0 to 100"));
        }
        if !(self.cpu_share > 0.0 && self.cpu_share.is_finite()) {
            return Err(LearnerError::invalid("idle.cpu_share must be above 0"));
        }
        let known = Policy::default();
        Ok(Policy {
            need_charging: self.need_charging,
            need_idle: self.need_idle,
            least_battery_percent: self.least_battery_percent,
            hottest: self.hottest.map_or(known.hottest, Into::into),
            memory_bytes: self.memory_bytes,
            cpu_share: self.cpu_share,
            back_off_ms: self.back_off.map_or(known.back_off_ms, millis),
        })
    }
}

/// More milliseconds than fit are as many as fit.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Default for TrainPolicy {
    fn default() -> TrainPolicy {
        let Learning { trigger, train, passes, exact, checkpoint_steps, .. } = Learning::default();
        TrainPolicy {
            examples: trigger.category_examples as u32,
            conversations: trigger.sessions as u32,
            cooldown: None,
            steps: train.steps,
            passes,
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
            (self.passes > 0, "training.passes must be above 0"),
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
            learning.trigger.cooldown_ms = millis(cooldown);
        }
        learning.train.steps = self.steps;
        learning.passes = self.passes;
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
        let keys = keys(self.key, self.passphrase, self.key_provider)?;
        if self.context_tokens == 0 {
            return Err(LearnerError::invalid("context_tokens must be above 0"));
        }
        if self.threads == Some(0) {
            return Err(LearnerError::invalid("threads must be above 0; none for one per core"));
        }
        let mut config = RuntimeConfig::with_keys(self.folder, keys);
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
        if let Some(keep_for) = self.keep_for {
            config.retention.max_age_ms = millis(keep_for);
        }
        if let Some(keep_bytes) = self.keep_bytes {
            config.retention.max_bytes = keep_bytes;
        }
        if let Some(idle) = self.idle {
            config.learning.policy = idle.check()?;
        }
        Ok(config)
    }
}

/// The one that is given.
fn keys(
    key: Option<Vec<u8>>,
    passphrase: Option<String>,
    provider: Option<Arc<dyn KeyProvider>>,
) -> Result<Arc<dyn vault::KeyProvider>, LearnerError> {
    match (key, passphrase, provider) {
        (Some(key), None, None) => {
            let key = <[u8; 32]>::try_from(key).map_err(|key| {
                LearnerError::invalid(format!("key has {} bytes, not 32", key.len()))
            })?;
            Ok(Arc::new(HostKey::new(key)))
        }
        (None, Some(passphrase), None) if passphrase.is_empty() => {
            Err(LearnerError::invalid("passphrase is empty"))
        }
        (None, Some(passphrase), None) => Ok(Arc::new(Passphrase::new(&passphrase))),
        (None, None, Some(provider)) => Ok(Arc::new(TheirKeys(provider))),
        _ => Err(LearnerError::invalid("give one of key, passphrase and key_provider")),
    }
}

#[cfg(test)]
mod tests {
    use runtime::Retention;

    use super::*;

    fn config() -> Config {
        Config {
            folder: "folder".into(),
            key: Some(vec![7; 32]),
            passphrase: None,
            key_provider: None,
            model: None,
            context_tokens: 2048,
            threads: None,
            device: None,
            retrieval: true,
            anchors: Vec::new(),
            training: None,
            idle: None,
            keep_for: None,
            keep_bytes: None,
        }
    }

    /// As the attributes above say, for the other languages.
    fn written_idle() -> IdlePolicy {
        IdlePolicy {
            need_charging: true,
            need_idle: true,
            least_battery_percent: 20,
            hottest: None,
            memory_bytes: None,
            cpu_share: 0.7,
            back_off: None,
        }
    }

    /// As the attributes above say, for the other languages.
    fn written() -> TrainPolicy {
        TrainPolicy {
            examples: 12,
            conversations: 2,
            cooldown: None,
            steps: 200,
            passes: 3,
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
        assert_eq!(written_idle().check().unwrap(), Policy::default());
        let ours = config().check().unwrap();
        let theirs = RuntimeConfig::new("folder", [7; 32]);
        assert_eq!(ours.context_tokens, theirs.context_tokens);
        assert_eq!(ours.retrieval, theirs.retrieval);
        assert_eq!(ours.retention, theirs.retention);
        assert_eq!(format!("{:?}", ours.learning), format!("{:?}", theirs.learning));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let refused = |config: Config| match config.check() {
            Err(LearnerError::Invalid { detail }) => detail,
            other => panic!("{:?}", other.map(|_| "accepted")),
        };
        let detail = refused(Config { key: Some(vec![7; 31]), ..config() });
        assert!(detail.contains("31"), "{detail}");
        assert!(refused(Config { key: None, ..config() }).contains("passphrase"));
        let both = Config { passphrase: Some("heartwood".into()), ..config() };
        assert!(refused(both).contains("one of key"));
        let empty = Config { key: None, passphrase: Some(String::new()), ..config() };
        assert!(refused(empty).contains("empty"));
        assert!(refused(Config { context_tokens: 0, ..config() }).contains("context_tokens"));
        assert!(refused(Config { threads: Some(0), ..config() }).contains("threads"));
        let with = |training: TrainPolicy| Config { training: Some(training), ..config() };
        assert!(refused(with(TrainPolicy { steps: 0, ..written() })).contains("steps"));
        assert!(refused(with(TrainPolicy { passes: 0, ..written() })).contains("passes"));
        assert!(refused(with(TrainPolicy { batch: 0, ..written() })).contains("batch"));
        assert!(refused(with(TrainPolicy { rank: 257, ..written() })).contains("rank"));
        let rate = TrainPolicy { learning_rate: f32::NAN, ..written() };
        assert!(refused(with(rate)).contains("learning_rate"));
        let with = |idle: IdlePolicy| Config { idle: Some(idle), ..config() };
        for cpu_share in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                refused(with(IdlePolicy { cpu_share, ..written_idle() })).contains("cpu_share")
            );
        }
        let charge = IdlePolicy { least_battery_percent: 101, ..written_idle() };
        assert!(refused(with(charge)).contains("least_battery_percent"));
    }

    #[test]
    fn what_is_kept_is_up_to_the_app() {
        let month = Duration::from_secs(30 * 24 * 3600);
        let ours = Config { keep_for: Some(month), keep_bytes: Some(1 << 20), ..config() };
        let wanted = Retention { max_age_ms: 30 * 24 * 3_600_000, max_bytes: 1 << 20 };
        assert_eq!(ours.check().unwrap().retention, wanted);
    }

    #[test]
    fn every_rule_of_the_device_reaches_the_runtime() {
        let idle = IdlePolicy {
            need_charging: false,
            need_idle: false,
            least_battery_percent: 50,
            hottest: Some(Thermal::Serious),
            memory_bytes: Some(1 << 30),
            cpu_share: 2.0,
            back_off: Some(Duration::from_secs(1)),
        };
        let policy = Config { idle: Some(idle), ..config() }.check().unwrap().learning.policy;
        let wanted = Policy {
            need_charging: false,
            need_idle: false,
            least_battery_percent: 50,
            hottest: runtime::Thermal::Serious,
            memory_bytes: Some(1 << 30),
            cpu_share: 2.0,
            back_off_ms: 1000,
        };
        assert_eq!(policy, wanted);
    }

    #[test]
    fn what_opens_the_store_is_never_printed() {
        assert!(!format!("{:?}", config()).contains("7, 7"));
        let typed = Config { key: None, passphrase: Some("heartwood".into()), ..config() };
        assert!(!format!("{typed:?}").contains("heartwood"));
        assert!(!typed.check().unwrap().keys.destroys(), "a passphrase stays");
    }
}
