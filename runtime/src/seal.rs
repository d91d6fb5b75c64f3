//! Sealing: authenticated encryption of everything that is stored, and where its keys come from.
//!
//! ```text
//! root key, 32 bytes, from the host
//!  ├ HKDF-SHA256(root, salt of 32 random bytes, label) → one key per write, nonce 0   (manifest)
//!  └ wraps, in the same way, random data keys: one per journal segment, per adapter, per
//!    checkpoint. Under a data key the nonce is a counter.
//! ```
//!
//! No nonce is ever random and no key outlives the object it was made for, so a pair of key and
//! nonce cannot repeat: not after a crash, not after a restored backup, not between processes.
//! Test builds prove it: they remember every pair and panic when one repeats with other text.
//!
//! The primitives are ring's: AES-256-GCM where the processor has AES instructions, otherwise
//! ChaCha20-Poly1305 (RFC 8439); HKDF (RFC 5869). Keys are wiped when dropped, except for ring's
//! own key schedules, which ring does not wipe; they are dropped with the object they serve.

#[cfg(any(test, feature = "faults"))]
mod auditor;
pub(crate) mod sealed_file;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

/// Bytes that sealing adds: the tag.
pub(crate) const TAG_BYTES: usize = 16;
/// A data key wrapped under the root key: salt 32, ciphertext 32, tag 16.
pub(crate) const WRAPPED_BYTES: usize = 32 + 32 + TAG_BYTES;
/// Bytes of salt in front of what [`Seal::seal`] makes.
pub(crate) const SALT_BYTES: usize = 32;

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system's source of randomness failed.
    #[error("the system gave no random bytes; nothing was written")]
    NoRandomness,
    /// Too short, changed since it was sealed, or sealed under another key.
    #[error("the sealed bytes are damaged or belong to another key")]
    NotAuthentic,
    /// The algorithm's number is not one that this version knows.
    #[error("sealing algorithm {found} is unknown to this version")]
    UnknownAlgorithm {
        /// The number found.
        found: u8,
    },
}

/// An AEAD with 256-bit keys, 96-bit nonces and 128-bit tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Algorithm {
    /// AES-256-GCM.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 2,
}

impl Algorithm {
    /// The faster one on this processor.
    pub(crate) fn preferred() -> Algorithm {
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        let hardware = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let hardware = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
        let hardware = false;
        if hardware { Algorithm::Aes256Gcm } else { Algorithm::ChaCha20Poly1305 }
    }

    /// The algorithm of a stored number.
    pub(crate) fn from_id(id: u8) -> Result<Algorithm, SealError> {
        match id {
            1 => Ok(Algorithm::Aes256Gcm),
            2 => Ok(Algorithm::ChaCha20Poly1305),
            found => Err(SealError::UnknownAlgorithm { found }),
        }
    }

    /// The number that is stored.
    pub(crate) fn id(self) -> u8 {
        self as u8
    }

    fn ring(self) -> &'static aead::Algorithm {
        match self {
            Algorithm::Aes256Gcm => &aead::AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
    Ok(bytes)
}

/// A random key for one stored object. Wiped when dropped.
pub(crate) struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// A fresh one.
    pub(crate) fn random() -> Result<DataKey, SealError> {
        random().map(|bytes| DataKey(Zeroizing::new(bytes)))
    }

    /// The cipher that works under this key.
    pub(crate) fn cipher(&self, algorithm: Algorithm) -> Cipher {
        Cipher::new(algorithm, &self.0)
    }
}

/// A key at work. Whoever holds it owes a nonce that was not used before under this key.
pub(crate) struct Cipher {
    key: LessSafeKey,
    #[cfg(any(test, feature = "faults"))]
    auditor: auditor::KeyId,
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &[u8; 32]) -> Cipher {
        let unbound =
            UnboundKey::new(algorithm.ring(), key).expect("both algorithms take 32 bytes");
        Cipher {
            key: LessSafeKey::new(unbound),
            #[cfg(any(test, feature = "faults"))]
            auditor: auditor::KeyId::of(key),
        }
    }

    /// Encrypts `buffer` in place and adds the tag at its end.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], buffer: &mut Vec<u8>) {
        #[cfg(any(test, feature = "faults"))]
        self.auditor.sealed(nonce, aad, buffer);
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), buffer)
            .expect("callers stay far below the AEAD's length limit");
    }

    /// Checks the tag at the end of `buffer`, decrypts in place and cuts the tag off.
    /// On failure the buffer is emptied: unauthenticated text is never seen.
    pub(crate) fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.key.open_in_place(nonce, Aad::from(aad), buffer) {
            Ok(text) => {
                let length = text.len();
                buffer.truncate(length);
                Ok(())
            }
            Err(_) => {
                buffer.zeroize();
                Err(SealError::NotAuthentic)
            }
        }
    }
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

/// The root key and what can be done with it.
pub struct Seal {
    root: Zeroizing<[u8; 32]>,
    algorithm: Algorithm,
}

impl Seal {
    /// Works under a root key that the host keeps: 32 secret random bytes, the same every time.
    pub fn new(root: [u8; 32]) -> Seal {
        Seal { root: Zeroizing::new(root), algorithm: Algorithm::preferred() }
    }

    /// The algorithm that new objects are sealed with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Public name of the store that this root key belongs to. Not secret, tells nothing about
    /// the key.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        let derived = self.derive(&[0; SALT_BYTES], &[b"sapwood store id v1"]);
        let mut id = [0; 16];
        id.copy_from_slice(&derived[..16]);
        id
    }

    fn derive(&self, salt: &[u8; SALT_BYTES], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.root[..]);
        let mut key = Zeroizing::new([0; 32]);
        extracted
            .expand(info, KeyLength)
            .and_then(|okm| okm.fill(&mut key[..]))
            .expect("32 bytes are within HKDF's limit");
        key
    }

    /// Seals `text` under a key of its own: salt, ciphertext, tag. `label` separates purposes,
    /// `aad` is authenticated and not stored.
    pub(crate) fn seal(&self, label: &[u8], aad: &[u8], text: &[u8]) -> Result<Vec<u8>, SealError> {
        let salt = random()?;
        let key = self.derive(&salt, &[label, &[self.algorithm.id()]]);
        let mut body = Vec::with_capacity(text.len() + TAG_BYTES);
        body.extend_from_slice(text);
        Cipher::new(self.algorithm, &key).seal([0; 12], aad, &mut body);
        let mut sealed = salt.to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`Seal::seal`] made with the same label, aad and algorithm.
    pub(crate) fn open(
        &self,
        algorithm: Algorithm,
        label: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (salt, body) = sealed.split_first_chunk().ok_or(SealError::NotAuthentic)?;
        let key = self.derive(salt, &[label, &[algorithm.id()]]);
        let mut text = Zeroizing::new(body.to_vec());
        Cipher::new(algorithm, &key).open([0; 12], aad, &mut text)?;
        Ok(text)
    }

    /// Wraps a data key for storage beside what it seals. `aad` binds it to that object.
    pub(crate) fn wrap(&self, key: &DataKey, aad: &[u8]) -> Result<[u8; WRAPPED_BYTES], SealError> {
        let sealed = self.seal(b"sapwood data key v1", aad, &key.0[..])?;
        let mut wrapped = [0; WRAPPED_BYTES];
        wrapped.copy_from_slice(&sealed);
        Ok(wrapped)
    }

    /// Unwraps a data key.
    pub(crate) fn unwrap(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8; WRAPPED_BYTES],
        aad: &[u8],
    ) -> Result<DataKey, SealError> {
        let text = self.open(algorithm, b"sapwood data key v1", aad, wrapped)?;
        let mut key = Zeroizing::new([0; 32]);
        if text.len() != key.len() {
            return Err(SealError::NotAuthentic);
        }
        key.copy_from_slice(&text);
        Ok(DataKey(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_open_only_what_was_sealed() {
        for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
            let seal = Seal { root: Zeroizing::new([7; 32]), algorithm };
            let sealed = seal.seal(b"label", b"aad", b"text").unwrap();
            let opened = seal.open(algorithm, b"label", b"aad", &sealed).unwrap();
            assert_eq!(&opened[..], b"text");
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1;
                assert!(seal.open(algorithm, b"label", b"aad", &damaged).is_err());
            }
            for (label, aad) in [(&b"other"[..], &b"aad"[..]), (b"label", b"other")] {
                assert!(seal.open(algorithm, label, aad, &sealed).is_err());
            }
            let stranger = Seal { root: Zeroizing::new([8; 32]), algorithm };
            assert!(stranger.open(algorithm, b"label", b"aad", &sealed).is_err());
            assert!(seal.open(algorithm, b"label", b"aad", &sealed[..31]).is_err());
        }
    }

    /// The format is what another implementation makes of its description in docs/storage.md:
    /// Python's `cryptography`, with HKDF-SHA256 over label and number, and a nonce of zeros.
    #[test]
    fn another_implementation_seals_the_same() {
        let sealed_elsewhere = [
            (Algorithm::Aes256Gcm, 1, "1345a23160559a7a1cc9b072352a736a01f7efbe"),
            (Algorithm::ChaCha20Poly1305, 2, "449d36308fcf9dbf50f8039f56a7cec4da1ddba5"),
        ];
        for (algorithm, id, body) in sealed_elsewhere {
            let seal = Seal { root: Zeroizing::new([7; 32]), algorithm };
            let salt = (0..32).map(|n| format!("{n:02x}")).collect::<String>();
            let sealed = bytes(&(salt + body));
            let opened = seal.open(algorithm, b"label", b"aad", &sealed).unwrap();
            assert_eq!(&opened[..], b"text");
            assert_eq!((algorithm.id(), Algorithm::from_id(id).unwrap()), (id, algorithm));
            assert_eq!(seal.store_id()[..], bytes("4c7c4a63f9ea6e56cde807a486e7bcb9"));
        }
        assert!(matches!(Algorithm::from_id(3), Err(SealError::UnknownAlgorithm { found: 3 })));
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(pair).collect()
    }

    #[test]
    fn a_wrapped_key_is_bound_to_its_object() {
        let seal = Seal::new([1; 32]);
        let key = DataKey::random().unwrap();
        let wrapped = seal.wrap(&key, b"this").unwrap();
        let back = seal.unwrap(seal.algorithm(), &wrapped, b"this").unwrap();
        assert_eq!(back.0, key.0);
        assert!(seal.unwrap(seal.algorithm(), &wrapped, b"that").is_err());
    }

    #[test]
    #[should_panic(expected = "nonce")]
    fn the_auditor_sees_a_repeated_nonce() {
        let cipher = DataKey::random().unwrap().cipher(Algorithm::Aes256Gcm);
        cipher.seal([3; 12], b"", &mut b"one".to_vec());
        cipher.seal([3; 12], b"", &mut b"two".to_vec());
    }
}
