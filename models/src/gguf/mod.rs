//! GGUF files: a strict reader and a deterministic writer.
//!
//! The format is that of the [GGUF specification], versions 2 and 3, little-endian. The reader
//! is the boundary between a file of unknown origin and the rest of the program: it refuses
//! whatever it does not understand, with a [`GgufError`] that names the place, and allocates
//! nothing on the word of the file. What it accepts is exact: typed metadata under unique keys,
//! and a table of tensors that lie one behind the other inside the file.
//!
//! [GGUF specification]: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod error;
// Reads the ranges that the parser checked against the same file.
#[allow(clippy::indexing_slicing)]
mod fingerprint;
mod read;
mod value;
// Its lengths are those of things in memory, its panics the contract with our own callers.
#[allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod write;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use sapwood_kernels::quant::Quant;

pub use error::GgufError;
pub use fingerprint::fingerprint;
pub use value::{Array, Value, ValueType};
pub use write::GgufWriter;

/// What a file may claim at most.
pub mod limits {
    use std::ops::RangeInclusive;

    /// Bytes of a file.
    pub const FILE_BYTES: u64 = 16 << 30;
    /// Bytes of everything before the tensor data.
    pub const HEADER_BYTES: usize = 64 << 20;
    /// Metadata keys.
    pub const KEYS: u64 = 4096;
    /// Tensors.
    pub const TENSORS: u64 = 16_384;
    /// Bytes of a key.
    pub const KEY_BYTES: u64 = 256;
    /// Bytes of a text value.
    pub const STRING_BYTES: u64 = 1 << 20;
    /// Bytes of one string in an array: a token, a merge.
    pub const ARRAY_STRING_BYTES: u64 = 1024;
    /// Elements of an array.
    pub const ARRAY_LEN: u64 = 1 << 21;
    /// Bytes of a tensor's name.
    pub const NAME_BYTES: u64 = 63;
    /// Size of a dimension.
    pub const DIMENSION: u64 = 1 << 31;
    /// Elements of a tensor.
    pub const ELEMENTS: u64 = 1 << 40;
    /// Values of `general.alignment` (powers of two only).
    pub const ALIGNMENT: RangeInclusive<u32> = 8..=65_536;
    /// Alignment of a file that does not say.
    pub const ALIGNMENT_DEFAULT: u64 = 32;
}

/// The checked header of a GGUF file: metadata and tensor table.
///
/// Owns a copy of the header bytes; the tensors' data stay where they are, in the bytes that
/// [`Gguf::parse`] was given, at each [`TensorInfo::range`].
#[derive(Clone, Debug)]
pub struct Gguf {
    header: Vec<u8>,
    metadata: Vec<Metadatum>,
    /// Places in `metadata`, by key.
    by_key: Vec<u32>,
    tensors: Vec<TensorInfo>,
    /// Places in `tensors`, by name.
    by_name: Vec<u32>,
    alignment: u64,
    data_start: usize,
    trailing_bytes: usize,
}

#[derive(Clone, Debug)]
struct Metadatum {
    key: String,
    entry: Entry,
}

/// A value, as scalar or as places in the header.
#[derive(Clone, Debug)]
enum Entry {
    Scalar(Value<'static>),
    Str(Range<usize>),
    Array(ArrayEntry),
}

#[derive(Clone, Debug)]
struct ArrayEntry {
    element: ValueType,
    len: usize,
    /// Scalars: the encoded elements.
    bytes: Range<usize>,
    /// Strings: where each one's bytes start; four bytes a string beside the header.
    starts: Vec<u32>,
}

/// A tensor of the file: shape, block type, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the file.
    pub name: String,
    /// Block type of the data.
    pub quant: Quant,
    /// Product of all dimensions but the first (1 for a vector).
    pub rows: usize,
    /// The first dimension, which is contiguous.
    pub cols: usize,
    /// All dimensions, contiguous first: 1 to 4.
    pub dims: Vec<usize>,
    /// The data, as a range of the file's bytes.
    pub range: Range<usize>,
}

impl Gguf {
    /// Read the header of the file whose whole content is `file`.
    ///
    /// # Errors
    /// Everything that the format forbids, that we do not support, or that goes beyond
    /// [`limits`]; see [`GgufError`]. The same bytes always give the same result.
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        read::parse(file)
    }

    /// Alignment of the tensors' data in bytes.
    pub fn alignment(&self) -> usize {
        usize::try_from(self.alignment).unwrap_or(usize::MAX)
    }

    /// Where the tensors' data start in the file.
    pub fn data_start(&self) -> usize {
        self.data_start
    }

    /// Bytes behind the padded end of the last tensor (at most one alignment unit).
    pub fn trailing_bytes(&self) -> usize {
        self.trailing_bytes
    }

    /// All tensors in the order of the file, which is also the order of their data.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        find(&self.tensors, &self.by_name, name, |tensor| &tensor.name)
    }

    /// All metadata in the order of the file.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.metadata.iter().map(|entry| (entry.key.as_str(), self.view(&entry.entry)))
    }

    /// The value of a key, of whatever type.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        let found = find(&self.metadata, &self.by_key, key, |entry| &entry.key)?;
        Some(self.view(&found.entry))
    }

    /// A text; the key must exist.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], [`GgufError::WrongType`] (as for all getters of this family).
    pub fn str(&self, key: &str) -> Result<&str, GgufError> {
        required(key, self.opt_str(key)?)
    }

    /// A text, if the key exists.
    ///
    /// # Errors
    /// [`GgufError::WrongType`], as for all getters of this family.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.pick(key, ValueType::Str, |value| match value {
            Value::Str(text) => Some(text),
            _ => None,
        })
    }

    /// A `u32`; the key must exist.
    ///
    /// # Errors
    /// See [`Gguf::str`].
    pub fn u32(&self, key: &str) -> Result<u32, GgufError> {
        required(key, self.opt_u32(key)?)
    }

    /// A `u32`, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.pick(key, ValueType::U32, |value| match value {
            Value::U32(number) => Some(number),
            _ => None,
        })
    }

    /// A `u64`, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.pick(key, ValueType::U64, |value| match value {
            Value::U64(number) => Some(number),
            _ => None,
        })
    }

    /// An `f32`; the key must exist.
    ///
    /// # Errors
    /// See [`Gguf::str`].
    pub fn f32(&self, key: &str) -> Result<f32, GgufError> {
        required(key, self.opt_f32(key)?)
    }

    /// An `f32`, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.pick(key, ValueType::F32, |value| match value {
            Value::F32(number) => Some(number),
            _ => None,
        })
    }

    /// A bool, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.pick(key, ValueType::Bool, |value| match value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// An array of strings (any bytes); the key must exist.
    ///
    /// # Errors
    /// See [`Gguf::str`].
    pub fn strings(
        &self,
        key: &str,
    ) -> Result<impl ExactSizeIterator<Item = &[u8]> + Clone, GgufError> {
        required(key, self.opt_strings(key)?)
    }

    /// An array of strings, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_strings(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = &[u8]> + Clone>, GgufError> {
        let array = self.array(key, ValueType::Str)?;
        Ok(array.map(|array| {
            // The parser checked every start.
            (0..array.len()).map(move |index| array.string(index).unwrap_or_default())
        }))
    }

    /// An array of `f32`; the key must exist.
    ///
    /// # Errors
    /// See [`Gguf::str`].
    pub fn f32s(&self, key: &str) -> Result<impl ExactSizeIterator<Item = f32>, GgufError> {
        required(key, self.opt_f32s(key)?)
    }

    /// An array of `f32`, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_f32s(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = f32>>, GgufError> {
        Ok(self.words(key, ValueType::F32)?.map(|words| words.map(f32::from_le_bytes)))
    }

    /// An array of `i32`, if the key exists.
    ///
    /// # Errors
    /// See [`Gguf::opt_str`].
    pub fn opt_i32s(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = i32>>, GgufError> {
        Ok(self.words(key, ValueType::I32)?.map(|words| words.map(i32::from_le_bytes)))
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> Value<'a> {
        let bytes = |range: &Range<usize>| self.header.get(range.clone()).unwrap_or_default();
        match entry {
            Entry::Scalar(value) => *value,
            // The parser checked that the bytes are UTF-8.
            Entry::Str(range) => Value::Str(std::str::from_utf8(bytes(range)).unwrap_or_default()),
            Entry::Array(array) => Value::Array(Array {
                element: array.element,
                len: array.len,
                bytes: match array.element {
                    ValueType::Str => &self.header,
                    _ => bytes(&array.bytes),
                },
                starts: &array.starts,
            }),
        }
    }

    fn pick<'a, T>(
        &'a self,
        key: &str,
        wanted: ValueType,
        get: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match get(value) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong_type(key, value.value_type(), wanted)),
        }
    }

    fn array(&self, key: &str, element: ValueType) -> Result<Option<Array<'_>>, GgufError> {
        let array = self.pick(key, ValueType::Array, |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })?;
        match array {
            Some(array) if array.element_type() != element => {
                Err(wrong_type(key, array.element_type(), element))
            }
            other => Ok(other),
        }
    }

    /// The elements of an array whose type is four bytes wide.
    fn words(
        &self,
        key: &str,
        element: ValueType,
    ) -> Result<Option<impl ExactSizeIterator<Item = [u8; 4]>>, GgufError> {
        let array = self.array(key, element)?;
        Ok(array.map(|array| array.bytes.as_chunks::<4>().0.iter().copied()))
    }
}

/// The element of that name, where `by_name` lists the places by name.
fn find<'a, T>(
    list: &'a [T],
    by_name: &[u32],
    name: &str,
    named: impl Fn(&T) -> &str,
) -> Option<&'a T> {
    let get = |place: u32| list.get(usize::try_from(place).ok()?);
    let found = by_name.binary_search_by(|&place| get(place).map_or("", &named).cmp(name)).ok()?;
    get(*by_name.get(found)?)
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, GgufError> {
    value.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
}

fn wrong_type(key: &str, found: ValueType, wanted: ValueType) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), found, wanted }
}
