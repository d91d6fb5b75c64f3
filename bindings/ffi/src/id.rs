//! Identifiers as apps see them: lower-case hexadecimal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::store::{Digest, hex};

use crate::error::LearnerError;

pub(crate) fn reply_text(id: u128) -> String {
    format!("{id:032x}")
}

pub(crate) fn reply_id(text: &str) -> Result<u128, LearnerError> {
    let id = bytes(text).map(u128::from_be_bytes);
    id.ok_or_else(|| LearnerError::invalid("a reply's id has 32 hexadecimal digits"))
}

pub(crate) fn adapter_text(digest: &Digest) -> String {
    hex(digest)
}

pub(crate) fn adapter_digest(text: &str) -> Result<Digest, LearnerError> {
    let digest = bytes(text);
    digest.ok_or_else(|| LearnerError::invalid("an adapter's digest has 64 hexadecimal digits"))
}

/// `None` unless the text is 2 N hexadecimal digits and nothing else.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(bytes)
}

pub(crate) fn instant(ms: u64) -> SystemTime {
    // What lies beyond the system's calendar never comes.
    let latest = UNIX_EPOCH + Duration::from_secs(1 << 40);
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(latest).min(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_went() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(reply_id(&reply_text(id)).unwrap(), id);
        }
        let digest = std::array::from_fn(|n| (n * 37 % 256) as u8);
        assert_eq!(adapter_digest(&adapter_text(&digest)).unwrap(), digest);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = "0".repeat(65);
        for text in ["", "12", "+0000000000000000000000000000001", "gg", "ä", &long] {
            assert!(reply_id(text).is_err(), "{text}");
            assert!(adapter_digest(text).is_err(), "{text}");
        }
        assert!(reply_id(&"ä".repeat(16)).is_err());
        assert!(adapter_digest(&"ä".repeat(32)).is_err());
        assert!(adapter_digest(&"+1".repeat(32)).is_err());
    }
}
