//! The adapter in force: which one that is, what its trial costs, and what takes it back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sapwood_models::{Adapter, AdapterFile};

use crate::adapter_set::{AdapterSet, load, load_confirmed, load_in_force, probe};
use crate::consent::Consent;
use crate::digest::{Digest, digest_of};
use crate::error::LearnerError;
use crate::kept::Kept;
use crate::learn::watch::{Action, Event, Watch};
use crate::lineage;
use crate::shared::Shared;
use crate::store::{Meta, N_HEALTHY, Reason, StoreError, Trial};
use crate::vault::VaultError;

impl Shared {
    /// What new replies are made with.
    pub fn in_force(&self) -> Arc<AdapterSet> {
        self.force.pin()
    }

    /// Pins the adapter in force for one reply. A candidate's try is paid for, durably, before it
    /// is used; one that has used up its tries is taken back here.
    pub fn begin_use(&self) -> Result<Arc<AdapterSet>, LearnerError> {
        let mut kept = self.kept();
        if let Err(error) = kept.catch_up() {
            let changed = matches!(
                error,
                LearnerError::Vault(VaultError::ChangedElsewhere)
                    | LearnerError::Store(StoreError::ChangedElsewhere)
            );
            if changed {
                return Err(error);
            }
            // A disk that fails is no reason not to answer.
            log::warn!("what other processes did can't be read: {error}");
        }
        // Another process may have refused, or granted again.
        if self.in_force().digest != kept.wanted() {
            self.put_in_force(&mut kept)?;
        }
        if kept.consent() == Consent::Refused {
            return Ok(self.in_force());
        }
        self.take_back_exhausted(&mut kept)?;
        let candidate = kept.store.candidate().map(|g| g.digest);
        if candidate.is_some()
            && candidate == self.in_force().digest
            && let Err(error) = kept.store.begin_trial()
        {
            let error = LearnerError::from(error);
            if error.disk().is_none() {
                return Err(error);
            }
            // Without a try that is paid for, a candidate is not used.
            log::warn!("this reply is made without the candidate: {error}");
            return Ok(Arc::new(load_confirmed(&self.model, &kept.store)?));
        }
        Ok(self.in_force())
    }

    /// Takes a candidate back that has used up its tries. Not as soon as it is opened: until it
    /// goes on, the app may say that the last process ended for another reason.
    fn take_back_exhausted(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let store = &mut kept.store;
        if store.candidate().is_some() && !store.in_trial() && store.tries_left() == 0 {
            let trial = store.begin_trial()?;
            debug_assert!(matches!(trial, Trial::Exhausted { .. }), "it has no try left");
            self.put_in_force(kept)?;
        }
        Ok(())
    }

    /// Gives an interrupted trial's try back.
    pub fn forgive_trial(&self) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        if kept.store.trial_interrupted() {
            kept.store.forgive_trial()?;
            // The last try had put it out of force.
            self.put_in_force(&mut kept)?;
        }
        Ok(())
    }

    /// Loads what the store says is in force, or after a refusal nothing, and swaps it in for all
    /// later replies.
    pub fn put_in_force(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let consent = kept.consent();
        self.refused.store(consent == Consent::Refused, Ordering::Relaxed);
        let set = load_in_force(&self.model, &mut kept.store, consent)?;
        if set.digest != self.in_force().digest {
            self.force.swap(set);
            kept.watch = Watch::new(self.config.learning.watch, kept.watch.p95_us());
        }
        Ok(())
    }

    /// The adapter in the bytes of a file.
    pub fn load(&self, bytes: &[u8]) -> Result<Adapter, LearnerError> {
        load(&self.model, bytes)
    }

    /// Keeps an adapter's bytes after the checks that every adapter has to pass.
    pub fn stage(&self, bytes: &[u8], meta: Option<Meta>) -> Result<Digest, LearnerError> {
        let file = AdapterFile::parse(bytes, self.model.arch())?;
        probe(&self.model, &self.model.load_adapter(&file)?)?;
        let meta = meta.unwrap_or(Meta { created_ms: self.now_ms(), ..Meta::default() });
        let mut kept = self.kept();
        kept.catch_up()?;
        if lineage::lineage(&file).any(|reply| kept.ledger.is_forgotten(reply)) {
            return Err(StoreError::Refused { digest: digest_of(bytes) }.into());
        }
        Ok(kept.store.stage(bytes, meta)?)
    }

    pub fn activate(&self, digest: &Digest) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        kept.catch_up()?;
        self.take_back_exhausted(&mut kept)?;
        kept.store.propose(digest)?;
        self.put_in_force(&mut kept)
    }

    pub fn rollback(&self) -> Result<Digest, LearnerError> {
        let mut kept = self.kept();
        kept.catch_up()?;
        let taken = kept.store.rollback(Reason::Host)?;
        self.put_in_force(&mut kept)?;
        Ok(taken)
    }

    pub fn refuse(&self, digest: &Digest) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        kept.catch_up()?;
        kept.store.mark_bad(digest)?;
        self.put_in_force(&mut kept)
    }

    /// The adapter made logits that are not finite: it goes at once.
    pub fn damaged(&self, used: &AdapterSet) {
        let mut kept = self.kept();
        if let Err(error) = self.observe(&mut kept, used.digest, Event::NonFinite) {
            log::error!("an adapter with damaged logits could not be taken back: {error}");
        }
    }

    /// A healthy session of what is in force; enough of them confirm the candidate.
    fn count_health(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let candidate = kept.store.candidate().map(|g| g.digest);
        // Another reply of this session may have closed the trial; the next one opens its own.
        if candidate.is_none() || candidate != self.in_force().digest || !kept.store.in_trial() {
            return Ok(());
        }
        kept.store.healthy()?;
        if kept.store.healthy_sessions() >= N_HEALTHY {
            let place = kept.journal.newest_place();
            kept.store.confirm(place)?;
        }
        Ok(())
    }

    /// Tells the watch, and does what it says. The base model can't be taken back.
    pub fn observe(
        &self,
        kept: &mut Kept,
        used: Option<Digest>,
        event: Event,
    ) -> Result<(), LearnerError> {
        if used != self.in_force().digest {
            return Ok(());
        }
        match kept.watch.observe(event) {
            Action::Healthy => self.count_health(kept),
            Action::Rollback(why) if used.is_some() => {
                log::warn!("the adapter in force is taken back: {why}");
                kept.store.rollback(Reason::Unhealthy)?;
                self.put_in_force(kept)
            }
            _ => Ok(()),
        }
    }
}
