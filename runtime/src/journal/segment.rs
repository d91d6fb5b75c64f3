//! One segment of the journal, "SWJ1": its bytes, written and read. No disk in here.
//!
//! ```text
//! header, 144 B
//!   0   magic "SWJ1" | version u16 = 2 | algorithm u8 | flags u8 = 0
//!   8   store id 16 | key id 16
//!   40  created u64 | writer's random 8 | lead u32 | crc32c of bytes 0..60
//!   64  wrapped data key 80, bound to bytes 0..64
//! frame
//!   0   length u32, 16..=16 MiB | kind u8 | flags u8 = 0 | schema u16 | index u64
//!   16  ciphertext[length] | tag 16 | zeros up to a multiple of 16
//! ```
//!
//! Integers are little-endian. `created` is the segment's place in the order of all that is recorded,
//! a time in milliseconds wherever that is one; `lead` is how far that lies ahead of what the clock
//! said, in milliseconds below 2³¹ and in minutes from there on. Version 1 had frames of at most
//! 64 KiB. A frame is sealed under nonce `0u32 ‖ index u64 BE`, with header,
//! frame header and the previous frame's tag as AAD: frames cannot be changed, moved, dropped from
//! the middle or taken from another segment. The text is a random record id of 16 bytes and the
//! archive. The last frame of a segment that was closed is the footer, kind 255, whose text is the
//! number of frames before it, u64, and 8 zeros. A segment without one ended in a crash, or is still being written.

use zeroize::Zeroizing;

use crate::crc::crc32c;
use crate::seal::{Cipher, DataKey, Seal, SealError, TAG_BYTES, WRAPPED_BYTES, random};

const MAGIC: [u8; 4] = *b"SWJ1";
const VERSION: u16 = 2;
const FIXED: usize = 64;
pub(super) const HEADER: usize = FIXED + WRAPPED_BYTES;
const FRAME_HEADER: usize = 16;
const ID_BYTES: usize = 16;
/// Longest text of a frame: record id and archive. What a record can come to is bounded before a
/// reply is made (`chat::MAX_NEW_BYTES`), at a quarter of this.
pub(super) const MAX_TEXT: usize = 16 << 20;
/// Longest archive of a record.
pub(super) const MAX_ARCHIVE: usize = MAX_TEXT - ID_BYTES;
const FOOTER: u8 = 0xFF;
const ALIGN: usize = 16;

/// A record on its way to the disk, kept in memory until it is durable.
pub(super) struct Item {
    pub kind: u8,
    pub schema: u16,
    /// Record id and archive.
    pub text: Zeroizing<Vec<u8>>,
}

impl Item {
    pub(super) fn new(kind: u8, schema: u16, archive: &[u8]) -> Result<Item, SealError> {
        Ok(Item::with_id(u128::from_le_bytes(random()?), kind, schema, archive))
    }

    /// A record that has its id already.
    pub(super) fn with_id(id: u128, kind: u8, schema: u16, archive: &[u8]) -> Item {
        let id: [u8; ID_BYTES] = id.to_le_bytes();
        let mut text = Zeroizing::new(Vec::with_capacity(ID_BYTES + archive.len() + TAG_BYTES));
        text.extend_from_slice(&id);
        text.extend_from_slice(archive);
        Item { kind, schema, text }
    }

    /// Random id that a record keeps when it is written again.
    pub(super) fn id(&self) -> u128 {
        self.text.first_chunk().map_or(0, |id| u128::from_le_bytes(*id))
    }

    pub(super) fn archive(&self) -> &[u8] {
        self.text.get(ID_BYTES..).unwrap_or_default()
    }
}

/// The bytes that a segment under way still has to get.
pub(super) struct Encoder {
    header: Vec<u8>,
    cipher: Cipher,
    tag: [u8; TAG_BYTES],
    frames: u64,
}

/// A new segment: its file name, its first bytes, and what makes the rest.
pub(super) fn begin(
    seal: &Seal,
    created_ms: u64,
    told_ms: u64,
) -> Result<(String, Encoder), SealError> {
    let writer: [u8; 8] = random()?;
    let key_id: [u8; 16] = random()?;
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[seal.algorithm().id(), 0]);
    header.extend_from_slice(&seal.store_id());
    header.extend_from_slice(&key_id);
    header.extend_from_slice(&created_ms.to_le_bytes());
    header.extend_from_slice(&writer);
    header.extend_from_slice(&lead(created_ms.saturating_sub(told_ms)).to_le_bytes());
    let sum = crc32c(&header);
    header.extend_from_slice(&sum.to_le_bytes());
    let key = DataKey::random()?;
    let wrapped = seal.wrap(&key, &header)?;
    header.extend_from_slice(&wrapped);
    let cipher = key.cipher(seal.algorithm());
    let name = format!("{created_ms:016x}-{:016x}.seg", u64::from_be_bytes(writer));
    let encoder = Encoder { header, cipher, tag: [0; TAG_BYTES], frames: 0 };
    Ok((name, encoder))
}

/// When the segment of this name was created; `None` if it is not a segment's name.
pub(super) fn created_ms(name: &str) -> Option<u64> {
    let (created, writer) = name.strip_suffix(".seg")?.split_once('-')?;
    let hex = |part: &str| part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(created) || !hex(writer) {
        return None;
    }
    u64::from_str_radix(created, 16).ok()
}

impl Encoder {
    /// The header, which goes in front of all frames.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Seals the next frame. Its index is used up, whether or not the bytes reach the disk.
    pub(super) fn frame(&mut self, item: &Item, out: &mut Vec<u8>) {
        self.push(item.kind, item.schema, &item.text, out);
    }

    /// Seals the footer.
    pub(super) fn footer(&mut self, out: &mut Vec<u8>) {
        let mut text = vec![0; ID_BYTES];
        text[..8].copy_from_slice(&self.frames.to_le_bytes());
        self.push(FOOTER, 0, &text, out);
    }

    fn push(&mut self, kind: u8, schema: u16, text: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(text.len()).expect("texts are at most MAX_TEXT");
        let head = frame_header(length, kind, schema, self.frames);
        let aad = aad(&self.header, &head, &self.tag);
        let mut body = Vec::with_capacity(text.len() + TAG_BYTES);
        body.extend_from_slice(text);
        self.cipher.seal(nonce(self.frames), &aad, &mut body);
        self.tag.copy_from_slice(&body[text.len()..]);
        self.frames += 1;
        out.extend_from_slice(&head);
        out.extend_from_slice(&body);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
    }
}

fn frame_header(length: u32, kind: u8, schema: u16, index: u64) -> [u8; FRAME_HEADER] {
    let mut head = [0; FRAME_HEADER];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = kind;
    head[6..8].copy_from_slice(&schema.to_le_bytes());
    head[8..].copy_from_slice(&index.to_le_bytes());
    head
}

fn nonce(index: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    nonce
}

fn aad(header: &[u8], frame: &[u8], tag: &[u8]) -> Vec<u8> {
    [header, frame, tag].concat()
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With its footer: closed, complete.
    Footer,
    /// After a whole frame: still being written, or its writer was killed between two records.
    Open,
    /// In bytes that are no frame: a crash in the middle of a write, or damage.
    Torn,
    /// It has no valid header, or it belongs to another key: nothing can be read.
    Foreign,
}

/// A segment, read.
pub(super) struct Contents {
    told_ms: u64,
    /// Length of the file.
    pub bytes: usize,
    pub items: Vec<Item>,
    pub end: End,
    /// Bytes from the start that are authentic.
    pub valid_bytes: usize,
}

impl Contents {
    /// What the clock said when this segment was begun, in milliseconds since 1970. Of one that can't
    /// be read, its name says when.
    pub(super) fn told_ms(&self, name: &str) -> u64 {
        match self.end {
            End::Foreign => created_ms(name).unwrap_or(0),
            End::Footer | End::Open | End::Torn => self.told_ms,
        }
    }
}

/// Reads a segment up to the first byte that is not authentic.
pub(super) fn read(seal: &Seal, bytes: &[u8]) -> Contents {
    let mut contents = Contents {
        told_ms: 0,
        bytes: bytes.len(),
        items: Vec::new(),
        end: End::Foreign,
        valid_bytes: 0,
    };
    let Some((header, cipher)) = open_header(seal, bytes) else {
        return contents;
    };
    contents.told_ms = told_ms(header);
    contents.valid_bytes = HEADER;
    let mut tag = [0; TAG_BYTES];
    for index in 0.. {
        let rest = &bytes[contents.valid_bytes..];
        if rest.is_empty() {
            contents.end = End::Open;
            return contents;
        }
        contents.end = End::Torn;
        let Some((item, next_tag, length)) = read_frame(&cipher, header, index, &tag, rest) else {
            return contents;
        };
        tag = next_tag;
        contents.valid_bytes += length;
        if item.kind == FOOTER {
            if contents.valid_bytes == bytes.len() {
                contents.end = End::Footer;
            }
            return contents;
        }
        contents.items.push(item);
    }
    contents
}

const MINUTE_MS: u64 = 60_000;
const MINUTES: u32 = 1 << 31;

fn lead(ms: u64) -> u32 {
    let minutes = || MINUTES | u32::try_from(ms / MINUTE_MS).unwrap_or(u32::MAX);
    u32::try_from(ms).ok().filter(|ms| *ms < MINUTES).unwrap_or_else(minutes)
}

fn told_ms(header: &[u8]) -> u64 {
    let created_ms = header[40..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let lead = header[56..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let lead_ms = match lead & MINUTES {
        0 => u64::from(lead),
        _ => u64::from(lead ^ MINUTES) * MINUTE_MS,
    };
    created_ms.saturating_sub(lead_ms)
}

fn open_header<'a>(seal: &Seal, bytes: &'a [u8]) -> Option<(&'a [u8], Cipher)> {
    let header = bytes.get(..HEADER)?;
    let (fixed, wrapped) = header.split_at(FIXED);
    let sum = crc32c(&fixed[..60]).to_le_bytes();
    let version = u16::from_le_bytes([fixed[4], fixed[5]]);
    if fixed[..4] != MAGIC || !(1..=VERSION).contains(&version) || fixed[60..] != sum {
        return None;
    }
    if fixed[8..24] != seal.store_id() {
        return None;
    }
    let algorithm = crate::seal::Algorithm::from_id(fixed[6]).ok()?;
    let key = seal.unwrap(algorithm, wrapped.try_into().ok()?, fixed).ok()?;
    Some((header, key.cipher(algorithm)))
}

/// The frame at the start of `rest`, its tag, and the bytes it takes.
fn read_frame(
    cipher: &Cipher,
    header: &[u8],
    index: u64,
    tag: &[u8],
    rest: &[u8],
) -> Option<(Item, [u8; TAG_BYTES], usize)> {
    let (head, rest) = rest.split_first_chunk::<FRAME_HEADER>()?;
    let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
    let (kind, schema) = (head[4], u16::from_le_bytes([head[6], head[7]]));
    let expected = frame_header(u32::try_from(length).ok()?, kind, schema, index);
    if *head != expected || !(ID_BYTES..=MAX_TEXT).contains(&length) {
        return None;
    }
    let sealed = rest.get(..length + TAG_BYTES)?;
    let padded = (FRAME_HEADER + sealed.len()).next_multiple_of(ALIGN);
    let padding = rest.get(sealed.len()..padded - FRAME_HEADER)?;
    let mut next_tag = [0; TAG_BYTES];
    next_tag.copy_from_slice(&sealed[length..]);
    let mut text = Zeroizing::new(sealed.to_vec());
    cipher.open(nonce(index), &aad(header, head, tag), &mut text).ok()?;
    // The padding is not sealed. Our writer leaves zeros; anything else is damage, and the frame
    // itself is still authentic, so it is only a reason not to call the segment complete.
    let clean = padding.iter().all(|byte| *byte == 0);
    let item = Item { kind, schema, text };
    (clean || kind != FOOTER).then_some((item, next_tag, padded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seal: &Seal, texts: &[&[u8]], footer: bool) -> Vec<u8> {
        let (_, mut encoder) = begin(seal, 77, 77).unwrap();
        let mut bytes = encoder.header().to_vec();
        for text in texts {
            encoder.frame(&Item::new(1, 1, text).unwrap(), &mut bytes);
        }
        if footer {
            encoder.footer(&mut bytes);
        }
        bytes
    }

    #[test]
    fn every_flipped_byte_keeps_the_prefix_and_never_gives_other_text() {
        let seal = Seal::new([3; 32]);
        let texts: [&[u8]; 4] = [b"one", b"", b"three three three", &[9; 100]];
        let bytes = segment(&seal, &texts, true);
        assert_eq!(read(&seal, &bytes).end, End::Footer);
        let ends: Vec<usize> = (0..=4).map(|n| segment(&seal, &texts[..n], false).len()).collect();
        for at in 0..bytes.len() {
            for xor in [1, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= xor;
                let contents = read(&seal, &damaged);
                let whole = ends.iter().filter(|end| **end <= at).count();
                let kept = whole.saturating_sub(1);
                assert!(contents.items.len() >= kept, "byte {at} lost {kept} good records");
                for (item, text) in contents.items.iter().zip(texts) {
                    assert_eq!(item.archive(), text, "byte {at} changed a record");
                }
                assert!(contents.valid_bytes <= bytes.len());
            }
        }
    }

    #[test]
    fn what_the_clock_said_is_kept_beside_the_place() {
        let seal = Seal::new([3; 32]);
        let told = |created_ms, told_ms| {
            let (_, encoder) = begin(&seal, created_ms, told_ms).unwrap();
            read(&seal, encoder.header()).told_ms
        };
        for lead in [0, 1, 59_999, (1 << 31) - 1] {
            assert_eq!(told(1 << 40, (1 << 40) - lead), (1 << 40) - lead);
        }
        let (place, said) = (4_102_444_800_000, 1_700_000_000_000);
        assert!(told(place, said).abs_diff(said) < MINUTE_MS, "a clock that ran 76 years ahead");
        assert_eq!(told(5, 9), 5);
    }

    #[test]
    fn every_truncation_keeps_the_whole_frames() {
        let seal = Seal::new([3; 32]);
        let bytes = segment(&seal, &[b"a", b"b"], true);
        let one = segment(&seal, &[b"a"], false).len();
        for length in 0..bytes.len() {
            let contents = read(&seal, &bytes[..length]);
            let expected = match contents.valid_bytes {
                0 => 0,
                valid => (valid >= one) as usize + (valid > one) as usize,
            };
            assert_eq!(contents.items.len(), expected.min(2));
            assert_ne!(contents.end, End::Footer);
        }
    }

    /// What the key's holder alone can make, and must not be taken for a frame or a header.
    #[test]
    fn what_our_writer_never_writes_is_refused_though_it_is_authentic() {
        let seal = Seal::new([3; 32]);
        let with_text = |length: usize| {
            let (_, mut encoder) = begin(&seal, 77, 77).unwrap();
            let mut bytes = encoder.header().to_vec();
            encoder.push(1, 1, &vec![5; length], &mut bytes);
            read(&seal, &bytes)
        };
        for (length, items, end) in [
            (ID_BYTES - 1, 0, End::Torn),
            (ID_BYTES, 1, End::Open),
            (MAX_TEXT, 1, End::Open),
            (MAX_TEXT + 1, 0, End::Torn),
        ] {
            let contents = with_text(length);
            assert_eq!((contents.items.len(), contents.end), (items, end), "{length} bytes");
        }
        // The first letter of the name, the version: with the right sum, and the key wrapped anew.
        for at in [0, 5] {
            let (_, encoder) = begin(&seal, 77, 77).unwrap();
            let mut fixed = encoder.header()[..FIXED].to_vec();
            fixed[at] ^= 7;
            let sum = crc32c(&fixed[..60]).to_le_bytes();
            fixed[60..].copy_from_slice(&sum);
            let wrapped = seal.wrap(&DataKey::random().unwrap(), &fixed).unwrap();
            assert_eq!(read(&seal, &[&fixed[..], &wrapped].concat()).end, End::Foreign);
        }
    }

    #[test]
    fn kind_and_order_are_sealed_with_the_text() {
        let seal = Seal::new([3; 32]);
        let bytes = segment(&seal, &[b"a", b"b"], false);
        let one = segment(&seal, &[b"a"], false).len();
        for (at, kept) in [(HEADER + 4, 0), (HEADER + 6, 0), (one + 4, 1), (one + 7, 1)] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 2;
            let contents = read(&seal, &damaged);
            assert_eq!((contents.items.len(), contents.end), (kept, End::Torn), "byte {at}");
        }
    }

    #[test]
    fn dirt_behind_a_frame_costs_no_record_and_behind_the_footer_its_word() {
        let seal = Seal::new([3; 32]);
        let bytes = segment(&seal, &[b"a"], true);
        let one = segment(&seal, &[b"a"], false).len();
        let footer = FRAME_HEADER + ID_BYTES + TAG_BYTES;
        assert_eq!(bytes.len(), (one + footer).next_multiple_of(ALIGN));
        let mut damaged = bytes.clone();
        damaged[one - 1] = 7;
        assert_eq!(read(&seal, &damaged).items.len(), 1);
        assert_eq!(read(&seal, &damaged).end, End::Footer);
        damaged = [&bytes[..], &[0; ALIGN]].concat();
        assert_ne!(read(&seal, &damaged).end, End::Footer, "there is more behind it");
    }

    #[test]
    fn a_segment_is_told_by_its_name() {
        let (name, _) = begin(&Seal::new([3; 32]), 0xABC, 5).unwrap();
        assert_eq!(created_ms(&name), Some(0xABC));
        let good = "0000000000000abc";
        let told = |created: &str, writer: &str| created_ms(&format!("{created}-{writer}.seg"));
        assert_eq!(told(good, good), Some(0xABC));
        for bad in ["abc", "0000000000000xyz", "+000000000000abc", "00000000000000abc", ""] {
            assert_eq!((told(bad, good), told(good, bad)), (None, None), "{bad}");
        }
        assert_eq!(created_ms("0000000000000abc-0000000000000abc"), None);
    }

    #[test]
    fn frames_of_another_segment_and_other_keys_are_refused() {
        let seal = Seal::new([3; 32]);
        let (one, two) = (segment(&seal, &[b"a", b"b"], true), segment(&seal, &[b"c", b"d"], true));
        let spliced = [&one[..HEADER], &two[HEADER..]].concat();
        assert!(read(&seal, &spliced).items.is_empty());
        assert_eq!(read(&Seal::new([4; 32]), &one).end, End::Foreign);
    }
}
