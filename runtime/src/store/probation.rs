//! The protocol: from a trained adapter to the one in force, and back.

use super::manifest::Manifest;
use super::{
    Change, Course, Digest, Generation, KEPT_STAGED, MAX_METRIC_NAME, MAX_METRICS, Meta, N_HEALTHY,
    Probation, Reason, State, Store, StoreError, digest_of,
};

/// What [`Store::begin_trial`] decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// The candidate may be used in this session.
    Begun {
        /// The candidate.
        digest: Digest,
        /// Tries left after this one.
        tries_left: u8,
    },
    /// It had used up its tries and was rolled back just now.
    Exhausted {
        /// The generation that was the candidate.
        digest: Digest,
    },
}

impl Store {
    /// Stores an adapter's bytes: sealed, verified, durable, named by their digest. Staging the
    /// same bytes twice is the same as once.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for bytes that were rolled back or forgotten before. A full disk
    /// leaves everything as it was.
    pub fn stage(&mut self, bytes: &[u8], meta: Meta) -> Result<Digest, StoreError> {
        let too_long = meta.metrics.iter().any(|metric| metric.name.len() > MAX_METRIC_NAME);
        if meta.metrics.len() > MAX_METRICS || too_long {
            let (limit, name_bytes) = (MAX_METRICS, MAX_METRIC_NAME);
            return Err(StoreError::TooManyMetrics { limit, name_bytes });
        }
        let digest = digest_of(bytes);
        if self.is_refused(&digest) {
            return Err(StoreError::Refused { digest });
        }
        if self.manifest.live(&digest).is_some() && self.read_adapter(&digest).is_ok() {
            return Ok(digest);
        }
        let lock = self.lock()?;
        let file_first = !self.planted_propose_before_stage();
        if file_first {
            self.write_adapter(&digest, bytes)?;
        }
        let mut next = self.manifest.clone();
        if next.live(&digest).is_none() {
            next.add(digest, self.base, meta);
        }
        self.commit(next)?;
        if !file_first {
            self.write_adapter(&digest, bytes)?;
        }
        self.sweep();
        drop(lock);
        Ok(digest)
    }

    /// Puts a staged generation on probation: from now on it is the candidate.
    pub fn propose(&mut self, digest: &Digest) -> Result<(), StoreError> {
        self.expect_state(digest, State::Staged)?;
        if self.candidate().is_some() {
            return Err(StoreError::CandidateExists);
        }
        if !self.planted_propose_before_stage() {
            self.read_adapter(digest)?;
        }
        self.change(|next, now_ms| {
            next.propose(digest, now_ms);
            Ok(())
        })
    }

    /// Carries out the gate's verdict on a staged generation that was measured against `over`
    /// (`None`: the base model), in one commit. It goes on probation, where a candidate makes room
    /// for it, or it is refused.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] if something else is in force by now: the verdict says nothing about
    /// that.
    pub fn carry_out(
        &mut self,
        digest: &Digest,
        over: Option<Digest>,
        promote: bool,
    ) -> Result<(), StoreError> {
        self.expect_state(digest, State::Staged)?;
        if self.in_force().map(|known| known.digest) != over {
            return Err(StoreError::Overtaken);
        }
        if promote {
            self.read_adapter(digest)?;
        }
        self.change(|next, now_ms| {
            next.course_mut().judged_ms = Some(now_ms);
            if !promote {
                next.refuse_logged(digest, Reason::Gate, now_ms);
                next.course_mut().turned_down += 1;
                return Ok(());
            }
            if let Some(before) = next.in_state(State::Probation).map(|before| before.digest) {
                next.refuse_logged(&before, Reason::Gate, now_ms);
            }
            next.propose(digest, now_ms);
            Ok(())
        })?;
        // A session with the candidate that made room is none with the new one.
        self.trial &= !promote;
        self.after_removal();
        Ok(())
    }

    /// Drops a staged generation without a verdict: what it was trained from was taken back.
    pub fn withdraw(&mut self, digest: &Digest) -> Result<(), StoreError> {
        self.expect_state(digest, State::Staged)?;
        self.change(|next, _| {
            next.move_to(digest, State::Retired);
            Ok(())
        })?;
        self.collect_garbage();
        Ok(())
    }

    /// Pays for one try of the candidate, durably. Call it before the first forward pass with the
    /// candidate in a session. A second call in the same session costs nothing.
    pub fn begin_trial(&mut self) -> Result<Trial, StoreError> {
        let digest = self.candidate().ok_or(StoreError::NoCandidate)?.digest;
        let tries_left = self.tries_left();
        if self.trial {
            return Ok(Trial::Begun { digest, tries_left });
        }
        if tries_left == 0 {
            self.rollback(Reason::TriesExhausted)?;
            return Ok(Trial::Exhausted { digest });
        }
        if !self.planted_decrement_after_use() {
            self.pay_try()?;
        }
        self.trial = true;
        Ok(Trial::Begun { digest, tries_left: tries_left - 1 })
    }

    fn pay_try(&mut self) -> Result<(), StoreError> {
        self.change(|next, _| {
            let probation = &mut next.course_mut().probation;
            (probation.tries_left, probation.trial_open) = (probation.tries_left - 1, true);
            Ok(())
        })
    }

    /// Reports a healthy session with the candidate: its try is given back.
    pub fn healthy(&mut self) -> Result<(), StoreError> {
        if !self.trial {
            return Err(StoreError::NoTrial);
        }
        if self.planted_decrement_after_use() {
            self.pay_try()?;
        }
        self.change(|next, _| {
            let probation = &mut next.course_mut().probation;
            probation.give_try_back();
            probation.healthy = (probation.healthy + 1).min(N_HEALTHY);
            Ok(())
        })?;
        self.trial = false;
        Ok(())
    }

    /// Whether this session has begun a trial that it has not reported healthy yet.
    pub fn in_trial(&self) -> bool {
        self.trial
    }

    /// Whether an earlier session began a trial and never reported.
    pub fn trial_interrupted(&self) -> bool {
        self.course().probation.trial_open && !self.trial
    }

    /// Gives the try of an interrupted trial back: the system says that the process ended for a
    /// reason that was not the adapter's fault.
    pub fn forgive_trial(&mut self) -> Result<(), StoreError> {
        if !self.trial_interrupted() {
            return Err(StoreError::NoTrial);
        }
        self.give_try_back()
    }

    /// Ends a trial in good order that was too short to be called healthy: its try is given back.
    /// The next use begins another one.
    pub fn end_trial(&mut self) -> Result<(), StoreError> {
        if !self.trial {
            return Err(StoreError::NoTrial);
        }
        self.give_try_back()?;
        self.trial = false;
        Ok(())
    }

    fn give_try_back(&mut self) -> Result<(), StoreError> {
        self.change(|next, _| {
            next.course_mut().probation.give_try_back();
            Ok(())
        })
    }

    /// Healthy sessions of the candidate so far.
    pub fn healthy_sessions(&self) -> u8 {
        self.course().probation.healthy
    }

    /// Tries that the candidate has left.
    pub fn tries_left(&self) -> u8 {
        self.course().probation.tries_left
    }

    /// Makes the candidate the active generation; the active one becomes the fallback, and what
    /// was the fallback retires. Files go only after that is durable. `order` is the place of the
    /// newest record in the journal: what comes after it is new to the active generation.
    pub fn confirm(&mut self, order: u64) -> Result<(), StoreError> {
        let digest = self.candidate().ok_or(StoreError::NoCandidate)?.digest;
        let (healthy, needed) = (self.healthy_sessions(), N_HEALTHY);
        if healthy < needed {
            return Err(StoreError::NotHealthy { healthy, needed });
        }
        self.read_adapter(&digest)?;
        self.change(|next, now_ms| {
            next.shift(State::Fallback, State::Retired);
            next.shift(State::Active, State::Fallback);
            next.shift(State::Probation, State::Active);
            next.course_mut().promoted(order);
            next.log(now_ms, digest, Change::Confirmed);
            Ok(())
        })?;
        self.trial = false;
        self.collect_garbage();
        Ok(())
    }

    /// Takes back the candidate, or, without one, the active generation in favour of the
    /// fallback. Its digest is refused from then on. Returns the generation taken back.
    pub fn rollback(&mut self, reason: Reason) -> Result<Digest, StoreError> {
        let taken = self.candidate().or_else(|| self.active());
        let digest = taken.ok_or(StoreError::NothingToRollBack)?.digest;
        self.refuse(digest, reason)?;
        Ok(digest)
    }

    /// Refuses a digest for good, wherever it stands and whether it is known here or not.
    pub fn mark_bad(&mut self, digest: &Digest) -> Result<(), StoreError> {
        self.refuse(*digest, Reason::Host)
    }

    fn refuse(&mut self, digest: Digest, reason: Reason) -> Result<(), StoreError> {
        self.change(|next, now_ms| {
            next.refuse_logged(&digest, reason, now_ms);
            Ok(())
        })?;
        self.after_removal();
        Ok(())
    }

    /// Takes back every generation of `digests` and all known here that were trained from them:
    /// their data is to be forgotten. Generations long gone are not known here any more, so the
    /// caller names every adapter that ever used the data: lineages in the journal contain those of
    /// their parents. The best clean ancestor is in force when this returns. Returns the
    /// digests revoked.
    pub fn revoke(&mut self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let revoked = self.change(|next, now_ms| {
            let mut gone = digests.to_vec();
            // Ancestors come before descendants in the list, so one pass finds them all.
            for generation in &next.generations {
                let tainted = generation.meta.parent.is_some_and(|parent| gone.contains(&parent));
                if tainted && !gone.contains(&generation.digest) {
                    gone.push(generation.digest);
                }
            }
            // The fallback first: it must not step forward when the active one goes.
            let fallback = next.in_state(State::Fallback).map(|fallback| fallback.digest);
            if let Some(at) = gone.iter().position(|digest| Some(*digest) == fallback) {
                gone[..=at].rotate_right(1);
            }
            for digest in &gone {
                next.refuse(digest, State::Revoked);
                next.log(now_ms, *digest, Change::Revoked);
            }
            Ok(gone)
        })?;
        self.after_removal();
        Ok(revoked)
    }

    fn after_removal(&mut self) {
        if self.candidate().is_none() {
            self.trial = false;
        }
        self.collect_garbage();
    }

    /// The host is sure of the base model in use: adapters of other base models may go.
    pub fn confirm_base(&mut self) -> Result<(), StoreError> {
        if self.manifest.in_state(State::Dormant).is_none() {
            return Ok(());
        }
        self.change(|next, _| {
            next.shift(State::Dormant, State::Retired);
            Ok(())
        })?;
        self.collect_garbage();
        Ok(())
    }

    fn expect_state(&self, digest: &Digest, needed: State) -> Result<(), StoreError> {
        let live = self.manifest.live(digest).ok_or(StoreError::Unknown { digest: *digest })?;
        if live.state == needed {
            return Ok(());
        }
        Err(StoreError::WrongState { digest: *digest, state: live.state, needed })
    }
}

impl Manifest {
    fn add(&mut self, digest: Digest, base: Digest, meta: Meta) {
        let staged = |known: &&mut Generation| known.state == State::Staged;
        let surplus = self.generations.iter_mut().filter(staged).count() + 1;
        let oldest = self.generations.iter_mut().filter(staged);
        for generation in oldest.take(surplus.saturating_sub(KEPT_STAGED)) {
            generation.state = State::Retired;
        }
        let number = self.next_number;
        self.next_number += 1;
        let (state, returns_to) = (State::Staged, None);
        self.generations.push(Generation { number, digest, base, state, returns_to, meta });
    }

    fn propose(&mut self, digest: &Digest, now_ms: u64) {
        self.move_to(digest, State::Probation);
        self.course_mut().probation = Probation::BEGUN;
        self.log(now_ms, *digest, Change::Proposed);
    }

    fn refuse_logged(&mut self, digest: &Digest, reason: Reason, now_ms: u64) {
        self.refuse(digest, State::Bad);
        self.log(now_ms, *digest, Change::RolledBack(reason));
    }

    /// Lays generations of other base models to rest and wakes those of this one, each as it stood:
    /// what another base model was opened for does not concern them.
    pub(super) fn adopt_base(&mut self, base: &Digest) {
        let known = self.courses.iter().position(|course| course.base == *base);
        let course = known.map_or_else(|| Course::of(*base), |at| self.courses.remove(at));
        self.courses.push(course);
        let mut changed = Vec::new();
        for generation in self.generations.iter_mut().filter(|known| known.state.has_file()) {
            let here = generation.base == *base;
            match (here, generation.state) {
                (true, State::Dormant) => {
                    generation.state = generation.returns_to.take().unwrap_or(State::Staged);
                }
                (false, state) if state != State::Dormant => {
                    generation.returns_to = Some(state);
                    generation.state = State::Dormant;
                }
                _ => continue,
            }
            changed.push(generation.digest);
        }
        if self.in_state(State::Probation).is_none() {
            self.course_mut().probation = Probation::default();
        }
        for digest in changed {
            self.log(self.time.now_ms, digest, Change::BaseChanged);
        }
    }
}

#[cfg(any(test, feature = "faults"))]
impl Store {
    fn planted_decrement_after_use(&self) -> bool {
        self.planted(super::Mutant::DecrementAfterUse)
    }

    fn planted_propose_before_stage(&self) -> bool {
        self.planted(super::Mutant::ProposeBeforeStage)
    }
}

#[cfg(not(any(test, feature = "faults")))]
impl Store {
    fn planted_decrement_after_use(&self) -> bool {
        false
    }

    fn planted_propose_before_stage(&self) -> bool {
        false
    }
}
