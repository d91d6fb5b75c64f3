//! What a model said, remembered: likelihoods, verdicts on generated texts, the base's answers.
//!
//! Each is a pure function of an adapter and of tokens, so it is kept under a digest of those. Work
//! that was cut goes on from what is known, to the same bits, and what has changed meanwhile (a
//! corrected example, a longer memory) is measured again without anybody's having to notice.

use std::collections::{BTreeMap, HashMap};

use sapwood_models::Digest;

use crate::digest::digest_of;

/// Names one measurement.
pub(crate) type Key = u128;

/// All that a measurement depends on, on the way to its [`Key`].
pub(crate) struct Question(Vec<u8>);

impl Question {
    /// `kind` names what is measured.
    pub fn new(kind: &str, adapter: Option<Digest>) -> Question {
        let adapter = adapter.map_or(Vec::new(), Vec::from);
        Question(Vec::new()).bytes(kind.as_bytes()).bytes(&adapter)
    }

    /// A part, with its length in front: no two lists of parts look the same.
    pub fn bytes(mut self, part: &[u8]) -> Question {
        self.0.extend((part.len() as u64).to_le_bytes());
        self.0.extend(part);
        self
    }

    pub fn tokens(self, ids: &[u32]) -> Question {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    pub fn number(self, number: usize) -> Question {
        self.bytes(&(number as u64).to_le_bytes())
    }

    pub fn key(self) -> Key {
        let digest = digest_of(&self.0);
        Key::from_le_bytes(std::array::from_fn(|i| digest[i]))
    }
}

/// Measurements of a candidate that has not been judged yet; they go into the checkpoint.
#[derive(Default, Debug, Clone, PartialEq)]
pub(crate) struct Measured(BTreeMap<Key, f64>);

impl Measured {
    pub fn get(&self, key: Key) -> Option<f64> {
        self.0.get(&key).copied()
    }

    pub fn insert(&mut self, key: Key, value: f64) {
        self.0.insert(key, value);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn extend(&mut self, other: Measured) {
        self.0.extend(other.0);
    }

    /// 24 bytes for each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry =
            |(key, value): (&Key, &f64)| key.to_le_bytes().into_iter().chain(value.to_le_bytes());
        self.0.iter().flat_map(entry).collect()
    }

    /// `None` for bytes that are not whole entries.
    pub fn from_bytes(bytes: &[u8]) -> Option<Measured> {
        let (entries, []) = bytes.as_chunks::<24>() else { return None };
        let entry = |entry: &[u8; 24]| {
            let (key, value) = entry.split_first_chunk::<16>()?;
            Some((Key::from_le_bytes(*key), f64::from_le_bytes(value.try_into().ok()?)))
        };
        entries.iter().map(entry).collect::<Option<_>>().map(Measured)
    }
}

/// What slices of one process remember of work that they did not finish.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) measured: Measured,
    /// The base model's answers to the app's anchors: they never change.
    pub(crate) answers: HashMap<Key, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_come_back_from_their_bytes() {
        let mut measured = Measured::default();
        for n in 0..5u8 {
            let key = Question::new("test", Some([n; 32])).tokens(&[u32::from(n)]).key();
            measured.insert(key, f64::from(n) / 3.0);
        }
        let bytes = measured.to_bytes();
        assert_eq!(Measured::from_bytes(&bytes), Some(measured));
        assert_eq!(Measured::from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn a_key_depends_on_every_part_and_on_where_it_ends() {
        let of = |a: &[u8], b: &[u8]| Question::new("k", None).bytes(a).bytes(b).key();
        assert_ne!(of(b"ab", b"c"), of(b"a", b"bc"));
        assert_ne!(Question::new("k", None).key(), Question::new("k", Some([0; 32])).key());
        assert_ne!(
            Question::new("k", None).number(1).key(),
            Question::new("k", None).number(2).key()
        );
    }
}
