//! How a slice keeps to its time: work comes in pieces, and one that would overrun is not begun.

use std::time::{Duration, Instant};

use sapwood_models::{ModelError, Stop};

use crate::error::LearnerError;

/// The time that a slice has left.
///
/// The first piece is done however little time there is, so that a host whose slices are too short
/// still gets there. Later ones begin only if there is room for the longest so far.
pub(super) struct Pace<'a> {
    stop: &'a Stop,
    /// `None`: no end but a stop.
    deadline: Option<Instant>,
    longest: Duration,
    begun: bool,
}

impl<'a> Pace<'a> {
    pub fn new(deadline: Option<Instant>, stop: &'a Stop) -> Pace<'a> {
        Pace { stop, deadline, longest: Duration::ZERO, begun: false }
    }

    /// Does one piece of work.
    ///
    /// # Errors
    /// [`ModelError::Stopped`] if a stop was asked for, before or during it, or there is no time.
    pub fn piece<T>(
        &mut self,
        work: impl FnOnce(&Stop) -> Result<T, LearnerError>,
    ) -> Result<T, LearnerError> {
        let started = Instant::now();
        let over = self.deadline.is_some_and(|deadline| started + self.longest > deadline);
        if self.stop.is_requested() || (over && self.begun) {
            return Err(ModelError::Stopped.into());
        }
        self.begun = true;
        let done = work(self.stop)?;
        self.longest = self.longest.max(started.elapsed());
        Ok(done)
    }
}

/// `None` where work ended early because of a stop or for lack of time.
pub(super) fn unless_stopped<T>(done: Result<T, LearnerError>) -> Result<Option<T>, LearnerError> {
    match done {
        Err(LearnerError::Model(ModelError::Stopped)) => Ok(None),
        done => done.map(Some),
    }
}

/// `None` for data that costs itself only: it does not fit the context, or the model's template
/// refuses it.
pub(super) fn unless_unusable<T>(made: Result<T, LearnerError>) -> Result<Option<T>, LearnerError> {
    match made {
        Err(LearnerError::Model(ModelError::ContextFull { .. }) | LearnerError::Template(_)) => {
            Ok(None)
        }
        made => made.map(Some),
    }
}
