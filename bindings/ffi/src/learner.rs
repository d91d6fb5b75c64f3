//! The learner: one model, one folder, any number of conversations.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::Budget;
use runtime::placement::{self, Opening};
use sapwood_models::{Mapped, ModelError};

use crate::adapter::AdapterInfo;
use crate::chat::{Chat, Message};
use crate::config::Config;
use crate::device::{DeviceState, StopToken};
use crate::error::LearnerError;
use crate::export::Exported;
use crate::fence::Fence;
use crate::forget::{DeletionReceipt, Scope};
use crate::id;
use crate::signal::{Consent, Sample, Signal};
use crate::slice::SliceReport;

/// A model that learns from its user. Open one per folder and keep it as long as the app runs.
#[derive(uniffi::Object)]
pub struct Learner {
    fence: Arc<Fence>,
    learner: runtime::Learner,
}

#[uniffi::export]
impl Learner {
    /// Opens the model and the folder, recovers from whatever happened to the last process, and
    /// puts the right adapter in force.
    #[uniffi::constructor]
    pub fn open(config: Config) -> Result<Arc<Learner>, LearnerError> {
        let fence = Arc::new(Fence::default());
        let learner = fence.call(|| open(config))?;
        Ok(Arc::new(Learner { fence, learner }))
    }

    /// Begins a conversation on a surface of the app (`mail.reply`, `triage`), with the app's
    /// standing instructions and the turns so far.
    #[uniffi::method(default(instructions = None, turns = []))]
    pub fn chat(
        &self,
        surface: String,
        instructions: Option<String>,
        turns: Vec<Message>,
    ) -> Result<Arc<Chat>, LearnerError> {
        let turns = turns.into_iter().map(Into::into).collect();
        let chat =
            self.fence.call(|| self.learner.chat(&surface, instructions.as_deref(), turns))?;
        Ok(Arc::new(Chat { fence: self.fence.clone(), chat }))
    }

    /// Says what the user did with a reply. Without consent this does nothing.
    pub fn signal(&self, reply_id: String, signal: Signal) -> Result<(), LearnerError> {
        let reply = id::reply_id(&reply_id)?;
        let signal = signal.try_into()?;
        self.fence.call(|| self.learner.signal(reply, signal))
    }

    /// Allows or stops keeping what the user does, and using what was kept and learned. Durable when
    /// it returns; a refusal holds at once, also where the disk has no room to write it.
    pub fn set_consent(&self, consent: Consent) -> Result<(), LearnerError> {
        self.fence.call(|| self.learner.set_consent(consent.into()))
    }

    /// Whether what the user does is kept.
    pub fn consent(&self) -> Result<Consent, LearnerError> {
        self.read(|learner| learner.consent().into())
    }

    /// Tells how the device is: at every change, from any thread. It trains only when
    /// `Config::idle` allows it: by default on a device that is plugged in, idle and cool.
    pub fn device_changed(&self, state: DeviceState) -> Result<(), LearnerError> {
        self.read(|learner| learner.device_changed(state.into()))
    }

    /// Trains for at most `budget`, or judges the run that has ended: the only call that trains.
    /// Returns early when there is nothing to do or when `stop` is requested. Replies go on
    /// meanwhile. Whatever happens to the process, the next slice goes on from the last checkpoint.
    #[uniffi::method(default(stop = None))]
    pub fn train_slice(
        &self,
        budget: Duration,
        stop: Option<Arc<StopToken>>,
    ) -> Result<SliceReport, LearnerError> {
        let stop = stop.map(|token| token.stop.clone()).unwrap_or_default();
        self.fence
            .call(|| self.learner.train_slice(Budget::time(budget), &stop))
            .map(SliceReport::from)
    }

    /// All adapters known, oldest first, with those that are gone.
    pub fn adapters(&self) -> Result<Vec<AdapterInfo>, LearnerError> {
        self.read(|learner| {
            let in_force = learner.adapter_in_force();
            learner.adapters().iter().map(|known| AdapterInfo::new(known, in_force)).collect()
        })
    }

    /// Keeps an adapter file (GGUF, made for this model elsewhere) without using it. Returns its
    /// digest.
    pub fn stage(&self, adapter: Vec<u8>) -> Result<String, LearnerError> {
        self.fence.call(|| self.learner.stage(&adapter)).map(|digest| id::adapter_text(&digest))
    }

    /// Puts a staged adapter in force on probation.
    pub fn activate(&self, adapter: String) -> Result<(), LearnerError> {
        let digest = id::adapter_digest(&adapter)?;
        self.fence.call(|| self.learner.activate(&digest))
    }

    /// Takes the adapter in force back for good and returns its digest. The one before, or the
    /// base model, is in force from the next reply on.
    pub fn rollback(&self) -> Result<String, LearnerError> {
        self.fence.call(|| self.learner.rollback()).map(|digest| id::adapter_text(&digest))
    }

    /// Refuses an adapter for good, in force or not, known here or not: the app's maker has heard
    /// that it is bad.
    pub fn refuse(&self, adapter: String) -> Result<(), LearnerError> {
        let digest = id::adapter_digest(&adapter)?;
        self.fence.call(|| self.learner.refuse(&digest))
    }

    /// Says that the app stays with this model: adapters of other ones, which were laid to rest when
    /// it came, are deleted.
    pub fn confirm_base(&self) -> Result<(), LearnerError> {
        self.fence.call(|| self.learner.confirm_base())
    }

    /// All replies that are kept, oldest first, each with what the user did.
    pub fn samples(&self) -> Result<Vec<Sample>, LearnerError> {
        self.read(|learner| learner.turns().into_iter().map(Sample::from).collect())
    }

    /// Forgets for good: replies, what the user did with them, every adapter that learned from one
    /// and all that were trained on top of it, the training run that sees them. The best clean
    /// adapter, or the base model, is in force when this returns. It ends a slice that is running.
    pub fn forget(&self, scope: Scope) -> Result<DeletionReceipt, LearnerError> {
        let scope = scope.try_into()?;
        self.fence.call(|| self.learner.forget(&scope)).map(DeletionReceipt::from)
    }

    /// Writes all that is kept into a new or empty folder, for the user to read: turns.json,
    /// adapters.json and the adapters as GGUF files. Nothing in there is sealed: protect it, hand
    /// it over, remove it.
    pub fn export_data(&self, folder: String) -> Result<Exported, LearnerError> {
        self.fence.call(|| self.learner.export_data(Path::new(&folder))).map(Exported::from)
    }

    /// Switches the showing of past exchanges on or off for all later replies.
    pub fn set_retrieval(&self, enabled: bool) -> Result<(), LearnerError> {
        self.read(|learner| learner.set_retrieval(enabled))
    }

    /// Says that the last process ended for a reason that was not the adapter's fault (the user
    /// swiped the app away, the system updated it): its interrupted trial is then not counted.
    pub fn exit_was_benign(&self) -> Result<(), LearnerError> {
        self.fence.call(|| self.learner.exit_was_benign())
    }

    /// Makes everything durable: call it when the app goes to the background.
    pub fn flush(&self) -> Result<(), LearnerError> {
        self.fence.call(|| self.learner.flush())
    }
}

impl Learner {
    /// A call that can't fail but by a bug.
    fn read<T>(&self, work: impl FnOnce(&runtime::Learner) -> T) -> Result<T, LearnerError> {
        self.fence.call(|| Ok::<_, LearnerError>(work(&self.learner)))
    }
}

/// Test builds only: a call that panics, as a bug would.
#[cfg(feature = "faults")]
#[uniffi::export]
impl Learner {
    /// Panics inside.
    pub fn panic_inside(&self) -> Result<(), LearnerError> {
        self.read(|_| panic!("planted"))
    }
}

fn open(config: Config) -> Result<runtime::Learner, LearnerError> {
    let opening = Opening {
        wanted: config.device.unwrap_or_default().into(),
        threads: config.threads.filter(|&n| n > 0).map(|n| n as usize),
        cache: Some(Path::new(&config.folder).join("device")),
    };
    let path = config.model.clone();
    let config = config.check()?;
    let file = match path {
        Some(path) => Mapped::open(Path::new(&path)).map_err(ModelError::from)?,
        None => embedded()?,
    };
    let (model, _) = placement::open(file, &opening)?;
    Ok(runtime::Learner::open(model, config)?)
}

#[cfg(feature = "embedded")]
fn embedded() -> Result<Mapped, LearnerError> {
    Ok(Mapped::from_static(sapwood_models::EMBEDDED))
}

#[cfg(not(feature = "embedded"))]
fn embedded() -> Result<Mapped, LearnerError> {
    Err(LearnerError::invalid("this library was built without a model: set model to a GGUF file"))
}
