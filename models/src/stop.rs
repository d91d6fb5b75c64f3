//! A request to stop, shared between the one who asks and the work that obeys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::ModelError;

/// Asks long work to end early. Scoring and training look at it before every program they run,
/// which on a phone-sized model is a fraction of a second.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A request that nobody has made yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks the work to stop. Can't be taken back.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        if self.is_requested() { Err(ModelError::Stopped) } else { Ok(()) }
    }

    /// Whether the work should stop.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
