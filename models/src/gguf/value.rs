//! Metadata values as a GGUF file holds them.

use std::fmt;

/// The type of a metadata value, or of the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 8-bit unsigned.
    U8,
    /// 8-bit signed.
    I8,
    /// 16-bit unsigned.
    U16,
    /// 16-bit signed.
    I16,
    /// 32-bit unsigned.
    U32,
    /// 32-bit signed.
    I32,
    /// 32-bit float.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// UTF-8 text; inside arrays any bytes.
    Str,
    /// An array of one of the other types.
    Array,
    /// 64-bit unsigned.
    U64,
    /// 64-bit signed.
    I64,
    /// 64-bit float.
    F64,
}

impl ValueType {
    /// In the order of GGUF's type numbers.
    pub(super) const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Str,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// Bytes of one scalar; `None` for strings and arrays.
    pub(super) fn scalar_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Str | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Str => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        })
    }
}

/// A metadata value, borrowed from the reader (or from whoever writes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// 8-bit unsigned.
    U8(u8),
    /// 8-bit signed.
    I8(i8),
    /// 16-bit unsigned.
    U16(u16),
    /// 16-bit signed.
    I16(i16),
    /// 32-bit unsigned.
    U32(u32),
    /// 32-bit signed.
    I32(i32),
    /// 32-bit float.
    F32(f32),
    /// A bool.
    Bool(bool),
    /// Text.
    Str(&'a str),
    /// An array: look inside with the getters of [`Array`].
    Array(Array<'a>),
    /// 64-bit unsigned.
    U64(u64),
    /// 64-bit signed.
    I64(i64),
    /// 64-bit float.
    F64(f64),
}

/// Scalars as they are; of an array its type and length.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Str(value) => value.fmt(f),
            Self::Array(array) => write!(f, "[{}; {}]", array.element_type(), array.len()),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
        }
    }
}

impl Value<'_> {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }
}

impl Value<'_> {
    /// The value as GGUF stores it, type first, in pieces.
    pub(super) fn encode(&self, out: &mut impl FnMut(&[u8])) {
        out(&self.value_type().number().to_le_bytes());
        match self {
            Self::U8(v) => out(&v.to_le_bytes()),
            Self::I8(v) => out(&v.to_le_bytes()),
            Self::U16(v) => out(&v.to_le_bytes()),
            Self::I16(v) => out(&v.to_le_bytes()),
            Self::U32(v) => out(&v.to_le_bytes()),
            Self::I32(v) => out(&v.to_le_bytes()),
            Self::F32(v) => out(&v.to_le_bytes()),
            Self::Bool(v) => out(&[u8::from(*v)]),
            Self::Str(v) => encode_string(v.as_bytes(), out),
            Self::Array(v) => v.encode(out),
            Self::U64(v) => out(&v.to_le_bytes()),
            Self::I64(v) => out(&v.to_le_bytes()),
            Self::F64(v) => out(&v.to_le_bytes()),
        }
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for Value<'_> {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Str(value)
    }
}

/// An array value: elements of one type, still in their encoded form.
///
/// A vocabulary of 262 144 strings costs four bytes a string beside the header's own bytes.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    pub(super) element: ValueType,
    pub(super) len: usize,
    /// Scalars: the encoded elements. Strings: the whole header, into which `starts` points.
    pub(super) bytes: &'a [u8],
    /// Strings: where each one's bytes start; its length stands in the eight bytes before.
    pub(super) starts: &'a [u32],
}

impl<'a> Array<'a> {
    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element `index`, or `None` behind the end (or for a string that is not UTF-8).
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self.element.scalar_bytes() {
            None => std::str::from_utf8(self.string(index)?).ok().map(Value::Str),
            Some(size) => {
                let start = index.checked_mul(size)?;
                decode(self.element, self.bytes.get(start..start.checked_add(size)?)?)
            }
        }
    }

    fn encode(&self, out: &mut impl FnMut(&[u8])) {
        out(&self.element.number().to_le_bytes());
        out(&(self.len as u64).to_le_bytes());
        match self.element {
            ValueType::Str => {
                (0..self.len).for_each(|i| encode_string(self.string(i).unwrap_or_default(), out))
            }
            _ => out(self.bytes),
        }
    }

    /// The bytes of string `index`; `None` behind the end or if the elements are scalars.
    pub fn string(&self, index: usize) -> Option<&'a [u8]> {
        string_at(self.bytes, *self.starts.get(index)?)
    }
}

impl PartialEq for Array<'_> {
    fn eq(&self, other: &Self) -> bool {
        if (self.element, self.len) != (other.element, other.len) {
            return false;
        }
        match self.element {
            ValueType::Str => (0..self.len).all(|i| self.string(i) == other.string(i)),
            _ => self.bytes == other.bytes,
        }
    }
}

/// A string with its length in front.
pub(super) fn encode_string(bytes: &[u8], out: &mut impl FnMut(&[u8])) {
    out(&(bytes.len() as u64).to_le_bytes());
    out(bytes);
}

/// The string whose bytes start at `start`, its length in the eight bytes before.
pub(super) fn string_at(header: &[u8], start: u32) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    let prefix = header.get(start.checked_sub(8)?..start)?;
    let len = usize::try_from(u64::from_le_bytes(prefix.try_into().ok()?)).ok()?;
    header.get(start..start.checked_add(len)?)
}

/// The scalar encoded in `bytes`; `None` if the size or the type is not a scalar's.
pub(super) fn decode(value_type: ValueType, bytes: &[u8]) -> Option<Value<'static>> {
    Some(match value_type {
        ValueType::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::Bool => Value::Bool(match bytes {
            [0] => false,
            [1] => true,
            _ => return None,
        }),
        ValueType::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::Str | ValueType::Array => return None,
    })
}
