//! A key store of the system, played by a folder: a file per epoch, made and removed in one step.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use sapwood::vault::{HostKey, KeyError, KeyProvider};
use zeroize::Zeroizing;

pub struct FolderKeys(pub PathBuf);

impl FolderKeys {
    fn path(&self, epoch: u64) -> PathBuf {
        self.0.join(epoch.to_string())
    }

    fn key(&self, epoch: u64) -> Result<HostKey, KeyError> {
        match fs::read(self.path(epoch)) {
            Ok(key) => Ok(HostKey::new(key.try_into().map_err(|_| KeyError::Permanent)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(KeyError::Permanent),
            Err(_) => Err(KeyError::Unavailable),
        }
    }
}

impl KeyProvider for FolderKeys {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        let key: [u8; 32] = sapwood::seal::random().map_err(KeyError::from)?;
        let new = self.0.join("new");
        fs::create_dir_all(&self.0)
            .and_then(|()| fs::write(&new, key))
            .and_then(|()| fs::rename(&new, self.path(epoch)))
            .map_err(|_| KeyError::Unavailable)
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.key(epoch)?.wrap(epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.key(epoch)?.unwrap(epoch, wrapped)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        match fs::remove_file(self.path(epoch)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(KeyError::Unavailable),
            _ => Ok(()),
        }
    }
}
