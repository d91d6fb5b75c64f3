//! Token strings by id, and ids by token string: one byte arena and an open-addressing index.
//!
//! A `HashMap<Vec<u8>, u32>` of a quarter of a million tokens costs an allocation and some sixty
//! bytes for each; this costs its bytes and eight more. The hash is keyed per process, so a file
//! cannot choose its tokens to collide.

use std::hash::{BuildHasher, Hasher, RandomState};

const EMPTY: u32 = u32::MAX;

/// Byte strings numbered from zero, findable by content.
pub(super) struct PieceTable {
    bytes: Vec<u8>,
    /// `ends[i]` is where piece `i` ends in `bytes`.
    ends: Vec<u32>,
    /// Ids; a power of two long, at most half full.
    slots: Vec<u32>,
    seed: u64,
}

impl PieceTable {
    /// An empty table with room for `count` pieces.
    pub(super) fn with_capacity(count: usize) -> Self {
        let slots = (count.max(8) * 2).next_power_of_two();
        Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(count),
            slots: vec![EMPTY; slots],
            seed: KeyedHash::random().0,
        }
    }

    /// Appends the next piece; `findable` ones can be looked up, and of equal ones the first wins.
    pub(super) fn push(&mut self, piece: &[u8], findable: bool) {
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len() as u32);
        if !findable || piece.is_empty() {
            return;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(piece, self.seed) as usize & mask;
        while self.slots[at] != EMPTY {
            if self.piece(self.slots[at]) == piece {
                return;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = id;
    }

    /// The bytes of piece `id`; empty when there is no such piece.
    #[inline]
    pub(super) fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The id of `piece`, if it is in the table and findable.
    #[inline]
    pub(super) fn find(&self, piece: &[u8]) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash(piece, self.seed) as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => return None,
                id if self.piece(id) == piece => return Some(id),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A keyed folded-multiply hash of a short string.
#[inline]
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut state = seed ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        state = fold(state ^ u64::from_le_bytes(eight), ODD ^ seed.rotate_left(29));
    }
    let mut tail = 0;
    for &byte in words.remainder() {
        tail = tail << 8 | u64::from(byte);
    }
    fold(state ^ tail, ODD ^ seed.rotate_left(17))
}

/// The same hash for maps whose key is one `u64`.
#[derive(Clone)]
pub(super) struct KeyedHash(u64);

impl KeyedHash {
    /// A key of this process's own.
    pub(super) fn random() -> Self {
        Self(RandomState::new().hash_one(0u64) | 1)
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.0 }
    }
}

/// See [`KeyedHash`].
pub(super) struct KeyedHasher {
    state: u64,
}

impl Hasher for KeyedHasher {
    fn finish(&self) -> u64 {
        self.state
    }
    fn write(&mut self, bytes: &[u8]) {
        self.state = hash(bytes, self.state);
    }
    fn write_u64(&mut self, value: u64) {
        self.state = fold(self.state ^ value, ODD ^ self.state.rotate_left(31));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_pushed_and_the_first_of_equals() {
        let mut table = PieceTable::with_capacity(3);
        table.push(b"a", true);
        table.push(b"bc", true);
        table.push(b"a", true);
        table.push(b"hidden", false);
        table.push(b"", true);
        assert_eq!(table.find(b"a"), Some(0));
        assert_eq!(table.find(b"bc"), Some(1));
        assert_eq!(table.find(b"hidden"), None);
        assert_eq!(table.find(b""), None);
        assert_eq!(table.piece(3), b"hidden");
        assert_eq!(table.piece(99), b"");
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn many_pieces_stay_apart() {
        let pieces: Vec<String> = (0..5000).map(|i| format!("piece-{i:x}")).collect();
        let mut table = PieceTable::with_capacity(pieces.len());
        for piece in &pieces {
            table.push(piece.as_bytes(), true);
        }
        for (id, piece) in pieces.iter().enumerate() {
            assert_eq!(table.find(piece.as_bytes()), Some(id as u32));
        }
        assert_eq!(table.find(b"piece-"), None);
    }
}
