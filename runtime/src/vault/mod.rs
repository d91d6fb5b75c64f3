//! The vault: everything that is kept, under one key that can be destroyed.
//!
//! ```text
//! key provider ─ one key per epoch, which never leaves it
//!   └ wraps the root key of the epoch: 32 random bytes, in the keyring
//!       └ seals journal, adapters, manifest and checkpoints, all in the folder e<epoch>
//! ```
//!
//! Overwriting erases nothing on flash, so what is to be gone has to lose its key. An epoch is left
//! in four steps, and a crash at any instant leaves the old epoch whole or the new one:
//!
//! 1. [`Vault::prepare`]: the keyring names the new epoch as unwanted, the provider makes its key;
//! 2. the owner copies what is to stay into the new folder, sealed under the new root key;
//! 3. [`Vault::enter`]: one durable change of the keyring. From here on the new epoch is the store
//!    and the old one is unwanted;
//! 4. [`Vault::clean`]: the provider destroys the unwanted key, the files go, the keyring forgets
//!    them. Whoever opens the vault does this first, so a crash only delays it.
//!
//! All four happen under [`Vault::lock`]. Other processes may go on writing into the old folder,
//! which they don't know to be left: what they wrote until step 3 is copied after it. So they look
//! at the keyring after each write ([`Vault::check`]), and what they wrote too late is not
//! acknowledged.

mod keys;
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use keys::{HostKey, KeyError, KeyProvider, Passphrase, Zeroizing};

use crate::disk::{Below, Disk, DiskError, Lock, at};
use crate::seal::{Seal, SealError, random};
use ring::Ring;

/// The epoch of a new vault.
const FIRST: u64 = 1;
const LOCK: &str = "lock";

/// Why the store's keys can't be had or changed. Nothing was wiped.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The disk failed, is full, or refuses access.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system gives no randomness.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The key provider said no.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another process is changing the keyring at this moment.
    #[error("another process is changing the store's keys; try again")]
    Busy,
    /// Another process has left the epoch since.
    #[error("another process changed the store's keys; open it again")]
    ChangedElsewhere,
    /// Both copies of the keyring are damaged. Nothing was changed or deleted.
    #[error("both copies of the keyring are damaged; move the folder away to begin anew")]
    Unreadable,
    /// The store was written by a later version. Nothing was changed.
    #[error("the keyring has format {found}, this version reads up to {known}; update the app")]
    NewerVersion {
        /// Format found.
        found: u16,
        /// The latest format known here.
        known: u16,
    },
}

/// The keys of a store, and the folder that they open.
pub struct Vault {
    disk: Arc<dyn Disk>,
    provider: Arc<dyn KeyProvider>,
    ring: Ring,
    here: Epoch,
}

/// Looks at the keyring of a vault.
pub(crate) struct KeyringWatch {
    disk: Arc<dyn Disk>,
    epoch: u64,
}

impl KeyringWatch {
    /// As [`Vault::check`].
    pub fn check(&self) -> Result<(), VaultError> {
        match Ring::look(&*self.disk)? {
            Some(ring) if ring.epoch == self.epoch => Ok(()),
            _ => Err(VaultError::ChangedElsewhere),
        }
    }
}

/// A folder and what seals it.
#[derive(Clone)]
pub struct Epoch {
    number: u64,
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// Works under the root key of the epoch.
    pub seal: Arc<Seal>,
    /// The root key, as the provider wrapped it.
    wrapped: Vec<u8>,
}

#[cfg(test)]
impl Epoch {
    /// One without a vault around it.
    pub fn alone(disk: Arc<dyn Disk>, seal: Arc<Seal>) -> Epoch {
        Epoch { number: 1, disk, seal, wrapped: Vec::new() }
    }
}

impl Vault {
    /// Opens the vault on `disk`, making one if there was never any.
    ///
    /// # Errors
    /// [`VaultError::Key`] says whether to try again or that the key is lost.
    pub fn open(disk: Arc<dyn Disk>, provider: Arc<dyn KeyProvider>) -> Result<Vault, VaultError> {
        if let Some(vault) = Vault::find(&disk, &provider)? {
            return Ok(vault);
        }
        let _lock = lock(&*disk)?;
        // Another process may have made it since.
        if let Some(vault) = Vault::find(&disk, &provider)? {
            return Ok(vault);
        }
        for dir in folders(FIRST) {
            if !list(&*disk, &dir)?.is_empty() {
                return Err(VaultError::Unreadable);
            }
        }
        let here = Epoch::create(&disk, &*provider, FIRST)?;
        let wrapped = here.wrapped.clone();
        let mut ring = Ring { sequence: 0, epoch: FIRST, unwanted: None, wrapped };
        ring.store(&*disk)?;
        Ok(Vault { disk, provider, ring, here })
    }

    fn find(
        disk: &Arc<dyn Disk>,
        provider: &Arc<dyn KeyProvider>,
    ) -> Result<Option<Vault>, VaultError> {
        let Some(ring) = Ring::load(&**disk)? else { return Ok(None) };
        let root = match provider.unwrap(ring.epoch, &ring.wrapped) {
            // Another process may have left this epoch and destroyed its key since.
            Err(_) if Ring::look(&**disk)?.is_some_and(|now| now.epoch != ring.epoch) => {
                return Err(VaultError::ChangedElsewhere);
            }
            unwrapped => unwrapped?,
        };
        // It was durable before a keyring named it.
        let folder = name(ring.epoch);
        let below = at("open folder", &folder, Below::known(Arc::clone(disk), folder.clone()))?;
        let here = Epoch::new(below, ring.epoch, *root, ring.wrapped.clone());
        let (disk, provider) = (Arc::clone(disk), Arc::clone(provider));
        Ok(Some(Vault { disk, provider, ring, here }))
    }

    /// Keeps other processes from changing the keyring until it is dropped.
    ///
    /// # Errors
    /// [`VaultError::Busy`], and [`VaultError::ChangedElsewhere`] if this epoch was left.
    pub fn lock(&mut self) -> Result<Lock, VaultError> {
        let lock = lock(&*self.disk)?;
        // Another process may have tried to leave the epoch, and its keyring is the newer one.
        self.ring = self.unless_left(Ring::load(&*self.disk)?)?;
        Ok(lock)
    }

    /// Whether this epoch is still the one in force. Looks, and makes nothing durable: it comes with
    /// every record.
    ///
    /// # Errors
    /// [`VaultError::ChangedElsewhere`] if it was left.
    pub fn check(&self) -> Result<(), VaultError> {
        self.unless_left(Ring::look(&*self.disk)?).map(drop)
    }

    /// What tells later whether this epoch was left, whatever becomes of the vault.
    pub(crate) fn watch(&self) -> KeyringWatch {
        KeyringWatch { disk: Arc::clone(&self.disk), epoch: self.ring.epoch }
    }

    fn unless_left(&self, now: Option<Ring>) -> Result<Ring, VaultError> {
        match now {
            Some(ring) if ring.epoch == self.ring.epoch => Ok(ring),
            _ => Err(VaultError::ChangedElsewhere),
        }
    }

    /// The epoch that was left last, while its key is still there: records that other processes
    /// wrote into it at the last moment are to be fetched before [`Vault::clean`].
    pub fn left(&self) -> Result<Option<Epoch>, VaultError> {
        let Some(old) = self.ring.before(&*self.disk)? else { return Ok(None) };
        match self.provider.unwrap(old.epoch, &old.wrapped) {
            Ok(root) => {
                let below = Epoch::make_folder(&self.disk, old.epoch)?;
                Ok(Some(Epoch::new(below, old.epoch, *root, old.wrapped)))
            }
            Err(KeyError::Permanent) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The epoch in force: where everything is kept, and what seals it.
    pub fn here(&self) -> &Epoch {
        &self.here
    }

    /// Whether nothing of an epoch that was left can be recovered, by anybody.
    pub fn shreds(&self) -> bool {
        self.provider.destroys() && self.is_settled()
    }

    /// Whether an epoch that was left may hold records that are not here yet.
    pub fn awaits_late_records(&self) -> bool {
        self.ring.unwanted.is_some_and(|unwanted| unwanted < self.ring.epoch)
    }

    /// Whether no other epoch has a key or files.
    pub fn is_settled(&self) -> bool {
        self.ring.unwanted.is_none()
    }

    /// The number of the epoch in force, from 1 on.
    pub fn epoch(&self) -> u64 {
        self.ring.epoch
    }

    /// Step 1 of leaving the epoch: an empty folder with a new key. Nothing may be unwanted.
    pub fn prepare(&mut self) -> Result<Epoch, VaultError> {
        self.clean()?;
        let number = self.ring.epoch + 1;
        let mut ring = Ring { unwanted: Some(number), ..self.ring.clone() };
        ring.store(&*self.disk)?;
        self.ring = ring;
        Epoch::create(&self.disk, &*self.provider, number)
    }

    /// Step 3: from here on `next` is the store.
    pub fn enter(&mut self, next: Epoch) -> Result<(), VaultError> {
        let mut ring = Ring {
            epoch: next.number,
            unwanted: Some(self.ring.epoch),
            wrapped: next.wrapped.clone(),
            ..self.ring.clone()
        };
        if let Err(error) = ring.store(&*self.disk) {
            // It may stand in the page cache, where the next process would find it, while this one
            // goes on in the epoch that it has not left.
            if let Err(left) = ring.retract(&*self.disk) {
                log::warn!("a keyring that could not be stored may yet be found: {left}");
            }
            return Err(error);
        }
        (self.ring, self.here) = (ring, next);
        Ok(())
    }

    /// Step 4: destroys the key of the unwanted epoch and removes its files.
    pub fn clean(&mut self) -> Result<(), VaultError> {
        let Some(unwanted) = self.ring.unwanted else { return Ok(()) };
        self.provider.destroy_epoch(unwanted)?;
        for dir in folders(unwanted) {
            self.empty(&dir)?;
            at("remove folder", &dir, self.disk.remove_dir(&dir))?;
        }
        let mut ring = Ring { unwanted: None, ..self.ring.clone() };
        ring.store(&*self.disk)?;
        self.ring = ring;
        Ok(())
    }

    fn empty(&self, dir: &str) -> Result<(), VaultError> {
        let names = list(&*self.disk, dir)?;
        for file in &names {
            let path = format!("{dir}/{file}");
            at("unlink", &path, self.disk.unlink(&path))?;
        }
        if !names.is_empty() {
            at("sync folder", dir, self.disk.sync_dir(dir))?;
        }
        Ok(())
    }
}

fn lock(disk: &dyn Disk) -> Result<Lock, VaultError> {
    match disk.lock(LOCK) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(VaultError::Busy),
        locked => Ok(at("lock", LOCK, locked)?),
    }
}

fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, VaultError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => Ok(at("list", dir, listed)?),
    }
}

fn name(epoch: u64) -> String {
    format!("e{epoch}")
}

/// Folders of an epoch, the innermost first.
fn folders(epoch: u64) -> [String; 4] {
    let name = name(epoch);
    [format!("{name}/a"), format!("{name}/c"), format!("{name}/j"), name]
}

impl Epoch {
    fn new(below: Below, number: u64, root: [u8; 32], wrapped: Vec<u8>) -> Epoch {
        Epoch { number, disk: Arc::new(below), seal: Arc::new(Seal::new(root)), wrapped }
    }

    fn make_folder(disk: &Arc<dyn Disk>, number: u64) -> Result<Below, VaultError> {
        let folder = name(number);
        Ok(at("make folder", &folder, Below::new(Arc::clone(disk), folder.clone()))?)
    }

    fn create(
        disk: &Arc<dyn Disk>,
        provider: &dyn KeyProvider,
        number: u64,
    ) -> Result<Epoch, VaultError> {
        let root = Zeroizing::new(random()?);
        provider.create_epoch(number)?;
        let wrapped = provider.wrap(number, &root)?;
        Ok(Epoch::new(Epoch::make_folder(disk, number)?, number, *root, wrapped))
    }
}
