//! Which adapter is in force, exchanged under running generations.
//!
//! A generation pins what is in force when it starts and keeps it to its end: one reply is made by
//! one adapter. The lock is held for a pointer copy, so a swap never waits for a generation, and a
//! generation never for a swap. The old adapter is freed when its last generation ends.
//!
//! `tests/loom` explores every interleaving of this file.

#[cfg(loom)]
use loom::sync::{Arc, Mutex};
#[cfg(not(loom))]
use std::sync::{Arc, Mutex};

/// The value in force.
pub(crate) struct InForce<T>(Mutex<Arc<T>>);

impl<T> InForce<T> {
    pub fn new(value: T) -> InForce<T> {
        InForce(Mutex::new(Arc::new(value)))
    }

    /// What is in force now; stays alive as long as the pin.
    pub fn pin(&self) -> Arc<T> {
        self.0.lock().expect("nothing panics under this lock").clone()
    }

    /// Puts `value` in force for all later pins and returns what was in force before.
    pub fn swap(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let mut slot = self.0.lock().expect("nothing panics under this lock");
        std::mem::replace(&mut *slot, value)
    }
}
