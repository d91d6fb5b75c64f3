//! Test builds only: no (key, nonce) may ever seal two different texts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256, digest};

type Short = [u8; 16];

type Seen = HashMap<(Short, [u8; 12]), Short>;

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

fn short(hash: &[u8]) -> Short {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

/// A key by its hash.
pub(super) struct KeyId(Short);

impl KeyId {
    pub(super) fn of(key: &[u8; 32]) -> KeyId {
        KeyId(short(digest(&SHA256, key).as_ref()))
    }

    /// Panics if this nonce has sealed something else under this key.
    pub(super) fn sealed(&self, nonce: [u8; 12], aad: &[u8], text: &[u8]) {
        let mut hash = Context::new(&SHA256);
        hash.update(&(aad.len() as u64).to_le_bytes());
        hash.update(aad);
        hash.update(text);
        let text = short(hash.finish().as_ref());
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.get_or_insert_with(HashMap::new).insert((self.0, nonce), text);
        assert!(before.is_none_or(|before| before == text), "a nonce repeats under one key");
    }
}
