//! A request to stop, shared between the one who asks and the work that obeys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::ModelError;

/// Asks long work to end early. Scoring and training look at it before every program they run,
/// which on a phone-sized model is a fraction of a second.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Request>);

#[derive(Default)]
struct Request {
    made: AtomicBool,
    /// Asked at every look, until it says yes.
    governor: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Stop {
    /// A request that nobody has made yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// A request that `governor` makes by saying so. It is asked at every look, on the thread that
    /// works, and may let that wait.
    pub fn governed(governor: impl Fn() -> bool + Send + Sync + 'static) -> Stop {
        Stop(Arc::new(Request { governor: Some(Box::new(governor)), ..Request::default() }))
    }

    /// Asks the work to stop. Can't be taken back.
    pub fn request(&self) {
        self.0.made.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        if self.is_requested() { Err(ModelError::Stopped) } else { Ok(()) }
    }

    /// Whether the work should stop; the governor is asked, and may let that wait.
    pub fn is_requested(&self) -> bool {
        if self.0.made.load(Ordering::Relaxed) {
            return true;
        }
        if self.0.governor.as_ref().is_some_and(|ask| ask()) {
            self.request();
        }
        self.0.made.load(Ordering::Relaxed)
    }
}
