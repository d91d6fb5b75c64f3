//! Who holds the keys: the host's key store, behind four operations.

use std::num::NonZeroU32;

use ring::pbkdf2;
use zeroize::Zeroize;
pub use zeroize::Zeroizing;

use crate::seal::{Algorithm, SALT_BYTES, Seal, SealError, random};

/// Why a key provider could not do what was asked. None of these ever leads to wiping anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not now: the device is locked, or its key store is busy.
    #[error("the key store can't be used now; try again when the device is unlocked")]
    Unavailable,
    /// Never again: the key was invalidated or destroyed, or belongs to another device.
    #[error(
        "the key of this store is gone for good, or is another one; move the folder away to begin \
         with an empty store"
    )]
    Permanent,
    /// The user or the system refused.
    #[error("the use of the key was refused; ask the user, then try again")]
    Denied,
    /// The provider itself went wrong.
    #[error(
        "the app's key provider failed without saying how; correct it: it has to say that the key \
         is unavailable, gone for good, or denied"
    )]
    Failed,
}

/// Holds the key-encryption keys of one store: Android's Keystore, Apple's Keychain, a TPM.
///
/// Epochs are numbers that only grow. Each has a key of its own, and everything that was sealed
/// in an epoch is lost when its key is. The calls may come from any thread and from any process of
/// the app, and none comes while a reply is computed.
pub trait KeyProvider: Send + Sync {
    /// Makes the key of an epoch, in place of one of that number that a crash may have left.
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError>;
    /// Seals a secret of 32 bytes under the key of an epoch, so that it opens as that epoch's only.
    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError>;
    /// Opens what [`KeyProvider::wrap`] made for the same epoch.
    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError>;
    /// Destroys the key of an epoch for good. `Ok` also if there is none.
    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError>;
    /// Whether a destroyed epoch is beyond recovery, for everybody. False where all epochs hang on
    /// one secret that stays: then forgotten data is deleted, but not shredded.
    fn destroys(&self) -> bool {
        true
    }
}

impl From<SealError> for KeyError {
    fn from(error: SealError) -> KeyError {
        match error {
            SealError::NoRandomness => KeyError::Unavailable,
            SealError::NotAuthentic | SealError::UnknownAlgorithm { .. } => KeyError::Permanent,
        }
    }
}

const LABEL: &[u8] = b"sapwood epoch key v1";

/// algorithm u8 ‖ what [`Seal::seal`] makes.
fn wrap(seal: &Seal, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
    let mut wrapped = vec![seal.algorithm().id()];
    wrapped.extend(seal.seal(LABEL, &epoch.to_le_bytes(), secret)?);
    Ok(wrapped)
}

fn unwrap(seal: &Seal, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let (&algorithm, sealed) = wrapped.split_first().ok_or(KeyError::Permanent)?;
    let algorithm = Algorithm::from_id(algorithm)?;
    let text = seal.open(algorithm, LABEL, &epoch.to_le_bytes(), sealed)?;
    let mut secret = Zeroizing::new([0; 32]);
    if text.len() != secret.len() {
        return Err(KeyError::Permanent);
    }
    secret.copy_from_slice(&text);
    Ok(secret)
}

/// One secret key of 32 bytes that the host keeps: all epochs hang on it.
///
/// What is forgotten is deleted and can't be opened with what is left in the folder, but whoever
/// has the key *and* old copies of the folder's bytes can read it. [`KeyProvider`] does better.
pub struct HostKey(Seal);

impl HostKey {
    /// The key: secret, random, the same every time.
    pub fn new(key: [u8; 32]) -> HostKey {
        HostKey(Seal::new(key))
    }
}

impl KeyProvider for HostKey {
    fn create_epoch(&self, _: u64) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        wrap(&self.0, epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        unwrap(&self.0, epoch, wrapped)
    }

    fn destroy_epoch(&self, _: u64) -> Result<(), KeyError> {
        Ok(())
    }

    fn destroys(&self) -> bool {
        false
    }
}

/// A passphrase, for desktops and tests: PBKDF2-HMAC-SHA256 (RFC 8018) with a salt per epoch.
///
/// As with [`HostKey`], whoever knows it can open old copies.
pub struct Passphrase {
    text: Zeroizing<Vec<u8>>,
    iterations: NonZeroU32,
}

/// OWASP's recommendation of 2023 for PBKDF2-HMAC-SHA256.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

impl Passphrase {
    /// Opens the store for whoever types this.
    pub fn new(passphrase: &str) -> Passphrase {
        Passphrase { text: Zeroizing::new(passphrase.as_bytes().to_vec()), iterations: ITERATIONS }
    }

    fn seal(&self, salt: &[u8; SALT_BYTES]) -> Seal {
        let mut key = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, self.iterations, salt, &self.text, &mut key);
        let seal = Seal::new(key);
        key.zeroize();
        seal
    }
}

impl KeyProvider for Passphrase {
    fn create_epoch(&self, _: u64) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let salt = random()?;
        let mut wrapped = salt.to_vec();
        wrapped.extend(wrap(&self.seal(&salt), epoch, secret)?);
        Ok(wrapped)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let (salt, wrapped) = wrapped.split_first_chunk().ok_or(KeyError::Permanent)?;
        unwrap(&self.seal(salt), epoch, wrapped)
    }

    fn destroy_epoch(&self, _: u64) -> Result<(), KeyError> {
        Ok(())
    }

    fn destroys(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens_its_own_alone(provider: &dyn KeyProvider, stranger: &dyn KeyProvider) {
        let secret = random().unwrap();
        let wrapped = provider.wrap(7, &secret).unwrap();
        assert_eq!(*provider.unwrap(7, &wrapped).unwrap(), secret);
        assert_eq!(provider.unwrap(8, &wrapped), Err(KeyError::Permanent), "another epoch");
        assert_eq!(stranger.unwrap(7, &wrapped), Err(KeyError::Permanent), "another key");
        for at in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[at] ^= 1;
            assert_eq!(provider.unwrap(7, &damaged), Err(KeyError::Permanent), "byte {at}");
        }
        for cut in 0..wrapped.len() {
            assert_eq!(provider.unwrap(7, &wrapped[..cut]), Err(KeyError::Permanent));
        }
    }

    #[test]
    fn a_secret_opens_under_its_key_and_as_its_epoch_only() {
        opens_its_own_alone(&HostKey::new([1; 32]), &HostKey::new([2; 32]));
        let passphrase = |text| Passphrase { iterations: NonZeroU32::MIN, ..Passphrase::new(text) };
        opens_its_own_alone(&passphrase("heartwood"), &passphrase("heartwoof"));
    }
}
