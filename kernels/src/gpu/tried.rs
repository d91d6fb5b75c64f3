//! Which kernels of an open adapter have been tried, and what that has cost.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shader::Kernel;

/// What has been tried.
#[derive(Default)]
pub(super) struct Tried(Mutex<Known>);

#[derive(Default)]
pub(super) struct Known {
    pub kernels: HashSet<Kernel>,
    pub spent: Duration,
}

impl Tried {
    /// How many kernels, and the time that it took.
    pub fn cost(&self) -> (usize, Duration) {
        let known = self.lock();
        (known.kernels.len(), known.spent)
    }

    /// What a panicking trial left is not tried again.
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
