//! The learner: one model, one store, any number of conversations.

use std::path::Path;
use std::sync::Arc;

use sapwood_models::{Message, Model, Stop};

use crate::capture::Capture;
use crate::chat::Chat;
use crate::config::Config;
use crate::consent::Consent;
use crate::device_state::DeviceState;
use crate::disk::{Disk, RealDisk};
use crate::error::LearnerError;
use crate::export::{self, Exported};
use crate::forget::{self, DeletionReceipt};
use crate::learn::example::Turn;
use crate::scope::Scope;
use crate::shared::Shared;
use crate::signal::Signal;
use crate::slice::{self, Budget, Outcome, SliceReport};
use crate::store::{Digest, Event, Generation};

/// A model that learns from its user. Cheap to clone; clones are the same learner.
#[derive(Clone)]
pub struct Learner {
    pub(crate) shared: Arc<Shared>,
}

impl Learner {
    /// Opens the store of `config`, recovers from whatever happened to the last process, and puts
    /// the right adapter in force.
    ///
    /// # Errors
    /// A folder that can't be used, a wrong key, or a store of a later version: each says what to
    /// do, and nothing is changed.
    pub fn open(model: Model, config: Config) -> Result<Learner, LearnerError> {
        let dir = config.dir.clone();
        let disk = RealDisk::open(&dir).map_err(|source| LearnerError::Folder { dir, source })?;
        Learner::open_on(Arc::new(disk), model, config)
    }

    /// As [`Learner::open`], on any disk.
    ///
    /// # Errors
    /// As [`Learner::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        model: Model,
        config: Config,
    ) -> Result<Learner, LearnerError> {
        let shared = Shared::open(disk, model, config)?;
        Ok(Learner { shared: Arc::new(shared) })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// Begins a conversation on a surface of the app (`mail.reply`, `triage`), with the app's
    /// standing instructions and the turns so far.
    ///
    /// # Errors
    /// No randomness for its id.
    pub fn chat(
        &self,
        surface: &str,
        instructions: Option<&str>,
        turns: Vec<Message>,
    ) -> Result<Chat, LearnerError> {
        Chat::new(self.shared.clone(), surface, instructions, turns)
    }

    /// Says what the user did with a reply. Without consent this does nothing.
    ///
    /// # Errors
    /// [`LearnerError::UnknownReply`]; a full or failing disk.
    pub fn signal(&self, reply: u128, signal: Signal) -> Result<(), LearnerError> {
        self.shared.or_changed(self.shared.signal(reply, signal))
    }

    /// Allows or stops keeping what the user does. The last word counts, whichever process says it.
    /// Durable when it returns. After a refusal nothing is recorded, nothing that was kept is shown
    /// to the model, nothing is trained, and replies are the base model's, until it is granted
    /// again; nothing is deleted ([`Learner::forget`] does that).
    ///
    /// # Errors
    /// A failing disk, or a full one in the way of a yes: for a refusal room is kept back, and without
    /// such room there is no yes. A refusal holds in any case, in this process at once, and is
    /// written as soon as that works.
    pub fn set_consent(&self, consent: Consent) -> Result<(), LearnerError> {
        self.shared.or_changed(self.shared.set_consent(consent))
    }

    /// Whether what the user does is kept.
    pub fn consent(&self) -> Consent {
        self.shared.kept().consent()
    }

    /// Tells how the device is: at every change, from any thread. The learner trains only as its
    /// [`Policy`](crate::policy::Policy) allows, and a slice under way ends when it no longer does.
    pub fn device_changed(&self, state: DeviceState) {
        self.shared.set_device(state);
    }

    /// Switches retrieval of past exchanges on or off for all later replies.
    pub fn set_retrieval(&self, enabled: bool) {
        self.shared.kept().retrieval_enabled = enabled;
    }

    /// All turns that were kept, oldest first, each with what the user did.
    pub fn turns(&self) -> Vec<Turn> {
        self.shared.kept().ledger.turns().to_vec()
    }

    /// All adapters known, oldest first, with those that are gone.
    pub fn adapters(&self) -> Vec<Generation> {
        self.shared.kept().store.generations().to_vec()
    }

    /// Promotions and rollbacks, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.shared.kept().store.events().to_vec()
    }

    /// The adapter that new replies are made with; `None` is the base model.
    pub fn adapter_in_force(&self) -> Option<Digest> {
        self.shared.in_force().digest
    }

    /// Keeps an adapter (GGUF, for this model) without using it.
    ///
    /// # Errors
    /// A file that is not an adapter for this model; one that was taken back before; a full disk.
    pub fn stage(&self, adapter: &[u8]) -> Result<Digest, LearnerError> {
        self.shared.or_changed(self.shared.stage(adapter, None))
    }

    /// Puts a staged adapter in force on probation, without asking the gate. It goes again if the
    /// watch finds it worse.
    ///
    /// # Errors
    /// An adapter that is not staged, or another candidate on probation.
    pub fn activate(&self, adapter: &Digest) -> Result<(), LearnerError> {
        self.shared.or_changed(self.shared.activate(adapter))
    }

    /// Takes the adapter in force back for good and returns its digest.
    ///
    /// # Errors
    /// Nothing to take back, or a failing disk.
    pub fn rollback(&self) -> Result<Digest, LearnerError> {
        self.shared.or_changed(self.shared.rollback())
    }

    /// Refuses an adapter for good, wherever it stands and whether it is known here or not: the
    /// app's maker has heard that it is bad.
    ///
    /// # Errors
    /// A failing disk.
    pub fn refuse(&self, adapter: &Digest) -> Result<(), LearnerError> {
        self.shared.or_changed(self.shared.refuse(adapter))
    }

    /// Says that the app stays with this base model: adapters of other ones, which were laid to
    /// rest when it came, are deleted.
    ///
    /// # Errors
    /// A failing disk.
    pub fn confirm_base(&self) -> Result<(), LearnerError> {
        Ok(self.shared.kept().store.confirm_base()?)
    }

    /// Says that the last process ended for a reason that was not the adapter's fault (the user
    /// swiped the app away, the system updated it): an interrupted trial is then not counted.
    ///
    /// # Errors
    /// A failing disk.
    pub fn exit_was_benign(&self) -> Result<(), LearnerError> {
        self.shared.or_changed(self.shared.forgive_trial())
    }

    /// Makes everything durable: call it when the app goes to the background, where it may end at
    /// any moment. A candidate's session that went well so far is then not counted as failed,
    /// however short it was.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn flush(&self) -> Result<(), LearnerError> {
        self.shared.flush()
    }

    /// Trains within `budget`, or judges the run that has ended. Returns early when there is
    /// nothing to do; obeys `stop` between two programs, which is well under half a second on the
    /// models this is for. Calls take turns; replies go on meanwhile.
    ///
    /// # Errors
    /// A full or failing disk, or a model that gives no finite numbers. Nothing is lost: the next
    /// slice goes on from the last checkpoint.
    pub fn train_slice(&self, budget: Budget, stop: &Stop) -> Result<SliceReport, LearnerError> {
        self.shared.or_changed(slice::train(&self.shared, budget, stop))
    }

    /// Judges an adapter that was made elsewhere, and puts it in force on probation if it is good
    /// enough. The gate is the same that the learner's own candidates pass.
    ///
    /// # Errors
    /// As [`Learner::stage`] and [`Learner::train_slice`];
    /// [`ModelError::Stopped`](sapwood_models::ModelError::Stopped) if a stop came first. What was
    /// measured until then is not measured again when the same adapter comes back.
    pub fn consider(&self, adapter: &[u8], stop: &Stop) -> Result<Outcome, LearnerError> {
        self.shared.or_changed(slice::consider(&self.shared, adapter, stop))
    }

    /// Forgets, for good: the replies, what users did with them, every adapter that learned from
    /// one and all that were trained on top of it, the training run that sees them. The best clean
    /// adapter, or the base model, is in force when this returns, and as a rule the bytes are gone
    /// ([`DeletionReceipt::erasure`]): everything that stays is sealed anew, which takes a moment.
    /// A slice that is running ends first.
    ///
    /// Conversations under way may quote what is gone. They go on, and are not recorded any more:
    /// begin new ones.
    ///
    /// A full disk stops none of it: room is kept back for it, and deleting makes more.
    ///
    /// # Errors
    /// A failing disk. Either nothing was forgotten, or the rest follows when the learner is opened
    /// again: asking again does no harm.
    pub fn forget(&self, scope: &Scope) -> Result<DeletionReceipt, LearnerError> {
        self.shared.or_changed(forget::forget(&self.shared, scope))
    }

    /// Writes everything that is kept into the new or empty folder `to`: not sealed, so it is the
    /// host's to show, to hand over, to protect and to remove.
    ///
    /// # Errors
    /// A folder that holds something or can't be used; a full or failing disk. What was written
    /// until then stays there.
    pub fn export_data(&self, to: &Path) -> Result<Exported, LearnerError> {
        export::export(&self.shared, to)
    }

    /// Opens the store of `config` for recording alone: no model, no adapter, no lock. Any number
    /// of processes may do so beside one that has a learner.
    ///
    /// # Errors
    /// A folder that can't be used, or keys that can't be had.
    pub fn open_capture(config: &Config) -> Result<Capture, LearnerError> {
        let dir = config.dir.clone();
        let disk = RealDisk::open(&dir).map_err(|source| LearnerError::Folder { dir, source })?;
        Learner::open_capture_on(Arc::new(disk), config)
    }

    /// As [`Learner::open_capture`], on any disk.
    ///
    /// # Errors
    /// As [`Learner::open_capture`].
    pub fn open_capture_on(disk: Arc<dyn Disk>, config: &Config) -> Result<Capture, LearnerError> {
        Capture::open(disk, config)
    }
}
