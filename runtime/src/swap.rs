//! Which adapter is in force, exchanged under running generations.
//!
//! A generation pins what is in force when it starts and keeps it to its end: one reply is made by
//! one adapter. The lock is held for a pointer copy, so a swap never waits for a generation, and a
//! generation never for a swap. The old adapter is freed when its last generation ends.

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

#[cfg(all(test, loom))]
mod tests {
    use super::*;

    /// Two readers and a writer, every interleaving: a pin is whole (both halves of the same
    /// generation), stays what it was while a swap happens, and everything is freed in the end.
    #[test]
    fn pins_are_whole_and_never_change() {
        loom::model(|| {
            let force = Arc::new(InForce::new((1, 1)));
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let force = force.clone();
                    loom::thread::spawn(move || {
                        let pin = force.pin();
                        let before = *pin;
                        assert_eq!(before.0, before.1);
                        loom::thread::yield_now();
                        assert_eq!(*pin, before);
                        let later = force.pin();
                        assert!(later.0 >= before.0, "a later pin is never older");
                    })
                })
                .collect();
            let old = force.swap((2, 2));
            assert_eq!(*old, (1, 1));
            drop(old);
            for reader in readers {
                reader.join().unwrap();
            }
            assert_eq!(*force.pin(), (2, 2));
        });
    }
}
