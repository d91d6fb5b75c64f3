//! A key store that forgets for real, and dies with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sapwood::disk::Disk;
use sapwood::disk::sim::SimDisk;
use sapwood::seal::random;
use sapwood::vault::{HostKey, KeyError, KeyProvider};
use zeroize::Zeroizing;

use super::world::Fault;

/// One key per epoch.
pub type Held = BTreeMap<u64, [u8; 32]>;

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// The keys after each change, with the operations of the disk until then.
    history: Vec<(u64, Held)>,
}

/// A device's key store. Each change of it counts as an operation of the disk, so that a process
/// can die before and after it.
#[derive(Clone)]
pub struct Keys {
    disk: SimDisk,
    fault: Fault,
    state: Arc<Mutex<State>>,
}

impl Keys {
    pub fn on(disk: &SimDisk, held: Held, fault: Fault) -> Keys {
        let state = State { history: vec![(0, held.clone())], held };
        Keys { disk: disk.clone(), fault, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn held(&self) -> Held {
        self.state().held.clone()
    }

    /// The keys when so many operations of the disk were done.
    pub fn held_at(&self, operations: u64) -> Held {
        let state = self.state();
        let done = state.history.iter().rev().find(|(then, _)| *then <= operations);
        done.map_or_else(Held::new, |(_, held)| held.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Held)) -> Result<(), KeyError> {
        self.disk.mark();
        if self.disk.list("").is_err() {
            return Err(KeyError::Unavailable);
        }
        let mut state = self.state();
        change(&mut state.held);
        let held = state.held.clone();
        state.history.push((self.disk.operations(), held));
        drop(state);
        self.disk.mark();
        Ok(())
    }

    fn key(&self, epoch: u64) -> Result<HostKey, KeyError> {
        self.state().held.get(&epoch).map(|key| HostKey::new(*key)).ok_or(KeyError::Permanent)
    }
}

impl KeyProvider for Keys {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        let key = random().map_err(|_| KeyError::Unavailable)?;
        self.change(|held| {
            if self.fault == Fault::KeyGoesFirst {
                held.clear();
            }
            held.insert(epoch, key);
        })
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.key(epoch)?.wrap(epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.key(epoch)?.unwrap(epoch, wrapped)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        self.change(|held| {
            if self.fault != Fault::KeyStays {
                held.remove(&epoch);
            }
        })
    }
}
