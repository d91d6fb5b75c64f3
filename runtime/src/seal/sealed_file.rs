//! A whole file sealed in chunks, for adapters, checkpoints and the list of refused digests.
//!
//! ```text
//! 0   magic "SWF1"
//! 4   version u16 = 1 | algorithm u8 | purpose u8
//! 8   text length u64
//! 16  sequence u64           (checkpoints: which is newer; adapters: 0)
//! 24  wrapped data key 80    (bound to bytes 0..24)
//! 104 chunks of 65 536 bytes (the last is shorter, and there even for an empty text) + tag 16
//! ```
//!
//! As in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015), chunk i is sealed under nonce
//! `0[7] ‖ i u32 BE ‖ last u8`: chunks cannot be reordered, dropped or cut off. The header is the
//! AAD of every chunk. The data key is fresh for every file written, so nonces start at zero.

use zeroize::Zeroizing;

use super::{Algorithm, DataKey, Seal, SealError, TAG_BYTES, WRAPPED_BYTES};

const MAGIC: [u8; 4] = *b"SWF1";
const VERSION: u16 = 1;
const FIXED: usize = 24;
const HEADER: usize = FIXED + WRAPPED_BYTES;
const CHUNK: usize = 64 * 1024;

/// What a sealed file holds: bound into it, so one kind cannot pass for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// An adapter generation.
    Adapter = 1,
    /// A trainer checkpoint.
    Checkpoint = 2,
    /// The older refused digests.
    Refused = 3,
}

fn nonce(chunk: usize, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    let chunk = u32::try_from(chunk).expect("a text of 2^32 chunks does not fit in memory");
    nonce[7..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Seals `text` as the bytes of a file.
pub(crate) fn seal(
    seal: &Seal,
    purpose: Purpose,
    sequence: u64,
    text: &[u8],
) -> Result<Vec<u8>, SealError> {
    let chunks = text.len().div_ceil(CHUNK).max(1);
    let mut file = Vec::with_capacity(HEADER + text.len() + chunks * TAG_BYTES);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&[seal.algorithm().id(), purpose as u8]);
    file.extend_from_slice(&(text.len() as u64).to_le_bytes());
    file.extend_from_slice(&sequence.to_le_bytes());
    let key = DataKey::random()?;
    let wrapped = seal.wrap(&key, &file)?;
    file.extend_from_slice(&wrapped);
    let header = file.clone();
    let cipher = key.cipher(seal.algorithm());
    let mut buffer = Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES));
    for chunk in 0..chunks {
        let start = chunk * CHUNK;
        buffer.clear();
        buffer.extend_from_slice(&text[start..text.len().min(start + CHUNK)]);
        cipher.seal(nonce(chunk, chunk + 1 == chunks), &header, &mut buffer);
        file.extend_from_slice(&buffer);
    }
    Ok(file)
}

/// Opens the bytes of a sealed file: its sequence and its text.
pub(crate) fn open(
    seal: &Seal,
    purpose: Purpose,
    file: &[u8],
) -> Result<(u64, Vec<u8>), SealError> {
    let (header, body) = file.split_at_checked(HEADER).ok_or(SealError::NotAuthentic)?;
    let (fixed, wrapped) = header.split_at(FIXED);
    if fixed[..4] != MAGIC || fixed[4..6] != VERSION.to_le_bytes() || fixed[7] != purpose as u8 {
        return Err(SealError::NotAuthentic);
    }
    let algorithm = Algorithm::from_id(fixed[6])?;
    let length = usize::try_from(u64_at(fixed, 8)).map_err(|_| SealError::NotAuthentic)?;
    let chunks = length.div_ceil(CHUNK).max(1);
    if body.len().checked_sub(length) != chunks.checked_mul(TAG_BYTES) {
        return Err(SealError::NotAuthentic);
    }
    let wrapped = wrapped.try_into().map_err(|_| SealError::NotAuthentic)?;
    let cipher = seal.unwrap(algorithm, wrapped, fixed)?.cipher(algorithm);
    let mut text = Vec::with_capacity(length);
    let mut buffer = Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES));
    for (chunk, sealed) in body.chunks(CHUNK + TAG_BYTES).enumerate() {
        buffer.clear();
        buffer.extend_from_slice(sealed);
        cipher.open(nonce(chunk, chunk + 1 == chunks), header, &mut buffer)?;
        text.extend_from_slice(&buffer);
    }
    if text.len() != length {
        return Err(SealError::NotAuthentic);
    }
    Ok((u64_at(fixed, 16), text))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_comes_back_and_no_part_can_be_cut_moved_or_changed() {
        let key = Seal::new([5; 32]);
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let file = seal(&key, Purpose::Adapter, 9, &text).unwrap();
            assert_eq!(open(&key, Purpose::Adapter, &file), Ok((9, text)));
            assert!(open(&key, Purpose::Checkpoint, &file).is_err());
            for cut in [0, HEADER - 1, HEADER, file.len() - TAG_BYTES, file.len() - 1] {
                assert!(open(&key, Purpose::Adapter, &file[..cut]).is_err());
            }
            for at in (0..HEADER + 1).chain([file.len() / 2, file.len() - 1]) {
                let mut damaged = file.clone();
                damaged[at] ^= 0x40;
                assert!(open(&key, Purpose::Adapter, &damaged).is_err(), "byte {at}");
            }
        }
        let two = seal(&key, Purpose::Adapter, 0, &vec![1; 2 * CHUNK]).unwrap();
        let chunk = CHUNK + TAG_BYTES;
        let mut swapped = two[..HEADER].to_vec();
        swapped.extend_from_slice(&two[HEADER + chunk..]);
        swapped.extend_from_slice(&two[HEADER..HEADER + chunk]);
        assert!(open(&key, Purpose::Adapter, &swapped).is_err());
    }
}
