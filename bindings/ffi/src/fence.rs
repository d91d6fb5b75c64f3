//! Keeps panics inside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::LearnerError;

/// Stands around every call that an app can make to one learner.
///
/// A panic is a bug of ours and may have left something half done in memory, though never on disk.
/// So the learner answers [`LearnerError::Fault`] from then on; opening it again starts from what
/// is on disk. What the panic said is dropped: it might hold the user's text.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    faulted: AtomicBool,
}

impl Fence {
    /// Does `work`, unless the learner has panicked before.
    pub fn call<T, E: Into<LearnerError>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, LearnerError> {
        if self.faulted.load(Ordering::Acquire) {
            return Err(LearnerError::Fault);
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => done.map_err(Into::into),
            Err(_) => {
                self.faulted.store(true, Ordering::Release);
                log::error!("a call panicked: the learner has to be opened again");
                Err(LearnerError::Fault)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_nothing_runs_after_it() {
        let fence = Fence::default();
        assert_eq!(fence.call(|| Ok::<_, LearnerError>(1)).unwrap(), 1);
        let fault = fence.call(|| -> Result<(), LearnerError> { panic!("planted") });
        assert!(matches!(fault, Err(LearnerError::Fault)));
        let later = fence.call(|| -> Result<(), LearnerError> { unreachable!("after a fault") });
        assert!(matches!(later, Err(LearnerError::Fault)));
    }
}
