//! Who holds the keys of a store: the app's own key store, behind four calls.

use std::sync::Arc;

use runtime::vault::{self, KeyError, Zeroizing};

/// Why a key provider could not do what was asked. None of these ever wipes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum KeyProviderError {
    /// Not now: the device is locked, or its key store is busy. The call fails with
    /// `LearnerError::Busy`, and works later.
    #[error("not now")]
    Unavailable,
    /// Never again: the key was invalidated or destroyed, or belongs to another device. The call
    /// fails with `LearnerError::Key`.
    #[error("never again")]
    Permanent,
    /// The user or the system refused. The call fails with `LearnerError::Busy`.
    #[error("refused")]
    Denied,
    /// Anything else. What an app throws that is no `KeyProviderError` counts as this: the call
    /// fails with `LearnerError::Invalid`.
    #[error("it failed")]
    Failed,
}

impl From<uniffi::UnexpectedUniFFICallbackError> for KeyProviderError {
    /// The text of the exception is dropped: nobody knows what is in it.
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> KeyProviderError {
        KeyProviderError::Failed
    }
}

impl From<KeyProviderError> for KeyError {
    fn from(error: KeyProviderError) -> KeyError {
        match error {
            KeyProviderError::Unavailable => KeyError::Unavailable,
            KeyProviderError::Permanent => KeyError::Permanent,
            KeyProviderError::Denied => KeyError::Denied,
            KeyProviderError::Failed => KeyError::Failed,
        }
    }
}

/// Holds the key-encryption keys of one store: Android's Keystore, Apple's Keychain, a TPM.
///
/// Epochs are numbers that only grow. Each has a key of its own that never leaves the key store.
/// What is forgotten is shredded by leaving an epoch and destroying its key, so `destroy_epoch` has
/// to mean it: a receipt says `Shredded` on its word.
///
/// The calls come on the thread of the call to the learner that needs them, from any of them: when
/// it is opened, when something is forgotten, at the beginning of a training slice. None comes
/// while a reply is computed, and none may call the learner.
#[uniffi::export(foreign)]
pub trait KeyProvider: Send + Sync {
    /// Makes the key of an epoch, in place of one of that number that a crash may have left.
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyProviderError>;

    /// Seals a secret of 32 bytes under the key of an epoch, so that it opens as that epoch's only.
    /// Keep nothing of the secret.
    fn wrap(&self, epoch: u64, secret: Vec<u8>) -> Result<Vec<u8>, KeyProviderError>;

    /// Opens what `wrap` made for the same epoch. Without its key, or if it was changed, that is
    /// `Permanent`.
    fn unwrap(&self, epoch: u64, wrapped: Vec<u8>) -> Result<Vec<u8>, KeyProviderError>;

    /// Destroys the key of an epoch for good. If there is none, it is done.
    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyProviderError>;
}

/// An app's provider, as the runtime asks it.
pub(crate) struct TheirKeys(pub Arc<dyn KeyProvider>);

impl vault::KeyProvider for TheirKeys {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        Ok(self.0.create_epoch(epoch)?)
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.wrap(epoch, secret.to_vec())?)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let secret = Zeroizing::new(self.0.unwrap(epoch, wrapped.to_vec())?);
        let secret = <[u8; 32]>::try_from(&secret[..]).map_err(|_| KeyError::Failed)?;
        Ok(Zeroizing::new(secret))
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        Ok(self.0.destroy_epoch(epoch)?)
    }
}
