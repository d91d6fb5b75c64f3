//! Identifiers as apps see them: lower-case hexadecimal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::store::{Digest, hex};

use crate::error::LearnerError;

pub(crate) fn reply_text(id: u128) -> String {
    format!("{id:032x}")
}

pub(crate) fn reply_id(text: &str) -> Result<u128, LearnerError> {
    let id = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| LearnerError::invalid("a reply's id has 32 hexadecimal digits"))
}

pub(crate) fn adapter_text(digest: &Digest) -> String {
    hex(digest)
}

pub(crate) fn adapter_digest(text: &str) -> Result<Digest, LearnerError> {
    let invalid = || LearnerError::invalid("an adapter's digest has 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(invalid());
    }
    let mut digest = [0; 32];
    for (byte, n) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[n..n + 2], 16).map_err(|_| invalid())?;
    }
    Ok(digest)
}

pub(crate) fn instant(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
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
