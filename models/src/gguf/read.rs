//! From bytes to [`Gguf`]: the checks that a file must pass.
//!
//! Everything a file claims is compared with what is there before it is believed: a length with
//! the bytes that are left, a count with its limit and with the least it would take, a product
//! with `checked_mul`. Header bytes are read once, into an owned copy, and only the copy is
//! interpreted: a mapped file that changes underneath cannot pass a check and then differ.
//!
//! Memory for whatever is accepted is asked for in a way that may be refused, so a header that
//! does not fit is an error too. Only the names inside other errors are allocated as Rust usually
//! does; a process that has not even those bytes left ends.

use std::ops::Range;

use super::error::GgufError;
use super::value::{ValueType, decode};
use super::{ArrayEntry, Entry, Gguf, Metadatum, TensorInfo, limits};
use sapwood_kernels::quant::Quant;

/// Bytes of the smallest key: length, one character, type, one byte of value (rounded down).
const KEY_BYTES_MIN: u64 = 13;
/// Bytes of the smallest tensor entry (rounded down).
const TENSOR_BYTES_MIN: u64 = 24;

/// Bytes copied at a time: most strings of a vocabulary are a few bytes long.
const CHUNK: usize = 1 << 16;

/// The file, a copy of its start that grows as needed, and how much of the copy is read.
struct Cursor<'a> {
    file: &'a [u8],
    header: Vec<u8>,
    position: usize,
}

impl Cursor<'_> {
    fn left(&self) -> u64 {
        to_u64(self.file.len().saturating_sub(self.position))
    }

    /// Go over the next `len` bytes and say where they are in the copy.
    fn take(&mut self, len: u64, field: &'static str) -> Result<Range<usize>, GgufError> {
        let start = self.position;
        match usize::try_from(len).ok().and_then(|len| start.checked_add(len)) {
            Some(end) if end <= self.header.len() => self.position = end,
            Some(end) if end <= self.file.len() => self.copy(end)?,
            _ => {
                let (at, left) = (to_u64(start), self.left());
                return Err(GgufError::Truncated { field, at, needed: len, left });
            }
        }
        Ok(start..self.position)
    }

    /// Copy up to `end`, which the file has, and some more.
    #[cold]
    fn copy(&mut self, end: usize) -> Result<(), GgufError> {
        if end > limits::HEADER_BYTES {
            return Err(GgufError::Limit {
                field: "size of metadata in bytes",
                found: to_u64(end),
                max: to_u64(limits::HEADER_BYTES),
            });
        }
        let ahead = end.saturating_add(CHUNK).min(self.file.len()).min(limits::HEADER_BYTES);
        let bytes = self.file.get(self.header.len()..ahead).unwrap_or_default();
        // Grown by a quarter: never much more than what is there, and not too often.
        if self.header.capacity() < ahead {
            let grown = ahead.saturating_add(ahead / 4).min(self.file.len());
            let more = grown.saturating_sub(self.header.len());
            reserve_exact(&mut self.header, more)?;
        }
        self.header.extend_from_slice(bytes);
        self.position = end;
        Ok(())
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.header.get(range).unwrap_or_default()
    }

    fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], GgufError> {
        let range = self.take(to_u64(N), field)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.bytes(range));
        Ok(bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, GgufError> {
        self.fixed(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, GgufError> {
        self.fixed(field).map(u64::from_le_bytes)
    }
}

/// Parse a whole file.
pub(super) fn parse(file: &[u8]) -> Result<Gguf, GgufError> {
    check_size(file)?;
    let mut cursor = Cursor { file, header: Vec::new(), position: 0 };
    check_version(&mut cursor)?;
    let tensor_count = read_count(&mut cursor, "number of tensors", limits::TENSORS)?;
    let key_count = read_count(&mut cursor, "number of keys", limits::KEYS)?;
    // Both factors are below their limits, so neither product nor sum can wrap.
    let needed = key_count
        .saturating_mul(KEY_BYTES_MIN)
        .saturating_add(tensor_count.saturating_mul(TENSOR_BYTES_MIN));
    if needed > cursor.left() {
        let left = cursor.left();
        return Err(GgufError::CountsExceedFile { keys: key_count, tensors: tensor_count, left });
    }
    let mut gguf = Gguf {
        header: Vec::new(),
        metadata: Vec::new(),
        by_key: Vec::new(),
        tensors: Vec::new(),
        by_name: Vec::new(),
        alignment: limits::ALIGNMENT_DEFAULT,
        data_start: 0,
        trailing_bytes: 0,
    };
    reserve_exact(&mut gguf.metadata, to_usize(key_count))?;
    for index in 0..key_count {
        read_entry(&mut cursor, &mut gguf, index)?;
    }
    gguf.by_key =
        by_name(&gguf.metadata, |entry| &entry.key, |key| GgufError::DuplicateKey { key })?;
    gguf.alignment = alignment(&gguf)?;
    reserve_exact(&mut gguf.tensors, to_usize(tensor_count))?;
    let mut placement = Placement::default();
    for index in 0..tensor_count {
        read_tensor(&mut cursor, &mut gguf, index, &mut placement)?;
    }
    gguf.by_name =
        by_name(&gguf.tensors, |info| &info.name, |tensor| GgufError::DuplicateTensor { tensor })?;
    locate(&mut gguf, to_u64(cursor.position), to_u64(file.len()))?;
    gguf.header = cursor.header;
    gguf.header.truncate(cursor.position);
    Ok(gguf)
}

fn check_size(file: &[u8]) -> Result<(), GgufError> {
    let bytes = to_u64(file.len());
    if bytes < 24 {
        return Err(GgufError::TooShort { bytes });
    }
    if bytes > limits::FILE_BYTES {
        return Err(GgufError::TooLarge { bytes, max: limits::FILE_BYTES });
    }
    Ok(())
}

fn check_version(cursor: &mut Cursor) -> Result<(), GgufError> {
    let magic = cursor.fixed::<4>("magic")?;
    if &magic != b"GGUF" {
        return Err(GgufError::NotGguf { found: magic });
    }
    match cursor.u32("version")? {
        2 | 3 => Ok(()),
        // Small numbers stored big-endian have their low half empty.
        other if other & 0xffff == 0 && other != 0 => Err(GgufError::WrongEndian),
        found => Err(GgufError::Version { found }),
    }
}

fn read_count(cursor: &mut Cursor, field: &'static str, max: u64) -> Result<u64, GgufError> {
    match cursor.u64(field)? {
        found if found > max => Err(GgufError::Limit { field, found, max }),
        count => Ok(count),
    }
}

/// One key with its value, appended to `gguf.metadata`. (`gguf.header` is still empty here:
/// values refer to the cursor's copy, which becomes `gguf.header` at the end.)
fn read_entry(cursor: &mut Cursor, gguf: &mut Gguf, index: u64) -> Result<(), GgufError> {
    let len = cursor.u64("length of a key")?;
    if len == 0 || len > limits::KEY_BYTES {
        return Err(GgufError::BadKey { index });
    }
    let range = cursor.take(len, "key")?;
    let text = std::str::from_utf8(cursor.bytes(range))
        .ok()
        .filter(|key| key.bytes().all(is_key_byte))
        .ok_or(GgufError::BadKey { index })?;
    let key = owned(text)?;
    let entry = read_value(cursor, &key)?;
    gguf.metadata.push(Metadatum { key, entry });
    Ok(())
}

/// The characters of a key (the specification's, and the dash that some converters use).
pub(super) fn is_key_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

fn read_value_type(cursor: &mut Cursor, key: &str) -> Result<ValueType, GgufError> {
    let found = cursor.u32("type of a value")?;
    ValueType::from_number(found)
        .ok_or_else(|| GgufError::UnknownValueType { key: key.to_owned(), found })
}

fn read_value(cursor: &mut Cursor, key: &str) -> Result<Entry, GgufError> {
    let value_type = read_value_type(cursor, key)?;
    match value_type {
        ValueType::Str => {
            let start = read_string(cursor, key, limits::STRING_BYTES)?;
            let end = cursor.position;
            if std::str::from_utf8(cursor.bytes(start..end)).is_err() {
                return Err(GgufError::NotUtf8 { key: key.to_owned() });
            }
            Ok(Entry::Str(start..end))
        }
        ValueType::Array => read_array(cursor, key).map(Entry::Array),
        scalar => {
            let size = scalar.scalar_bytes().unwrap_or_default();
            let range = cursor.take(to_u64(size), "value")?;
            let bytes = cursor.bytes(range);
            // Only a bool can fail here: every other bit pattern is a value of its type.
            decode(scalar, bytes).map(Entry::Scalar).ok_or_else(|| GgufError::BadBool {
                key: key.to_owned(),
                found: bytes.first().copied().unwrap_or_default(),
            })
        }
    }
}

/// A length-prefixed string; returns where its bytes start in the copy.
fn read_string(cursor: &mut Cursor, key: &str, max: u64) -> Result<usize, GgufError> {
    let len = cursor.u64("length of a string")?;
    if len > max {
        return Err(GgufError::ValueTooLong { key: key.to_owned(), found: len, max });
    }
    cursor.take(len, "string").map(|range| range.start)
}

fn read_array(cursor: &mut Cursor, key: &str) -> Result<ArrayEntry, GgufError> {
    let element = read_value_type(cursor, key)?;
    if element == ValueType::Array {
        return Err(GgufError::NestedArray { key: key.to_owned() });
    }
    let count = cursor.u64("length of an array")?;
    if count > limits::ARRAY_LEN {
        let max = limits::ARRAY_LEN;
        return Err(GgufError::ValueTooLong { key: key.to_owned(), found: count, max });
    }
    // A string takes at least its length prefix.
    let size = element.scalar_bytes().unwrap_or(8);
    let needed = count.saturating_mul(to_u64(size));
    if needed > cursor.left() {
        let at = to_u64(cursor.position);
        return Err(GgufError::Truncated { field: "array", at, needed, left: cursor.left() });
    }
    let len = to_usize(count);
    if element == ValueType::Str {
        let mut starts = Vec::new();
        reserve_exact(&mut starts, len)?;
        for _ in 0..len {
            let start = read_string(cursor, key, limits::ARRAY_STRING_BYTES)?;
            // The header ends below 2^32 (limits::HEADER_BYTES).
            starts.push(u32::try_from(start).unwrap_or(u32::MAX));
        }
        return Ok(ArrayEntry { element, len, bytes: 0..0, starts });
    }
    let bytes = cursor.take(needed, "array")?;
    if element == ValueType::Bool {
        let bad = cursor.bytes(bytes.clone()).iter().copied().find(|&byte| byte > 1);
        if let Some(found) = bad {
            return Err(GgufError::BadBool { key: key.to_owned(), found });
        }
    }
    Ok(ArrayEntry { element, len, bytes, starts: Vec::new() })
}

fn alignment(gguf: &Gguf) -> Result<u64, GgufError> {
    let found = match gguf.opt_u32("general.alignment")? {
        None => return Ok(limits::ALIGNMENT_DEFAULT),
        Some(found) => found,
    };
    if found.is_power_of_two() && limits::ALIGNMENT.contains(&found) {
        Ok(u64::from(found))
    } else {
        Err(GgufError::Alignment { found })
    }
}

/// Where the next tensor has to start, from the start of the data section.
#[derive(Default)]
struct Placement {
    next: u64,
}

fn read_tensor(
    cursor: &mut Cursor,
    gguf: &mut Gguf,
    index: u64,
    placement: &mut Placement,
) -> Result<(), GgufError> {
    let len = cursor.u64("length of a tensor name")?;
    if len == 0 || len > limits::NAME_BYTES {
        return Err(GgufError::BadTensorName { index });
    }
    let range = cursor.take(len, "tensor name")?;
    let text =
        std::str::from_utf8(cursor.bytes(range)).map_err(|_| GgufError::BadTensorName { index })?;
    let name = owned(text)?;
    let dims = read_dims(cursor, &name)?;
    let quant = read_quant(cursor, &name)?;
    let (cols, rows) = (dims.first().copied().unwrap_or(1), product(&dims, 1, &name)?);
    let bytes = data_bytes(&name, quant, rows, cols)?;
    let offset = cursor.u64("offset of a tensor")?;
    if offset != placement.next {
        let expected = placement.next;
        return Err(GgufError::Offset { tensor: name, found: offset, expected });
    }
    let beyond = |end| GgufError::TensorBeyondFile {
        tensor: name.clone(),
        end,
        bytes: to_u64(cursor.file.len()),
    };
    let end = offset.checked_add(bytes).ok_or_else(|| beyond(u64::MAX))?;
    if end > to_u64(cursor.file.len()) {
        return Err(beyond(end));
    }
    placement.next = end.checked_next_multiple_of(gguf.alignment).ok_or_else(|| beyond(end))?;
    // `locate` moves the range to the data section, whose start is not known yet.
    let range = to_usize(offset)..to_usize(end);
    gguf.tensors.push(TensorInfo { name, quant, rows: to_usize(rows), cols, dims, range });
    Ok(())
}

fn read_dims(cursor: &mut Cursor, tensor: &str) -> Result<Vec<usize>, GgufError> {
    let found = cursor.u32("number of dimensions")?;
    if !(1..=4).contains(&found) {
        return Err(GgufError::DimensionCount { tensor: tensor.to_owned(), found });
    }
    let mut dims = Vec::new();
    reserve_exact(&mut dims, to_usize(u64::from(found)))?;
    for axis in 0..found {
        let found = cursor.u64("dimension")?;
        if !(1..=limits::DIMENSION).contains(&found) {
            let max = limits::DIMENSION;
            return Err(GgufError::Dimension { tensor: tensor.to_owned(), axis, found, max });
        }
        dims.push(to_usize(found));
    }
    product(&dims, 0, tensor)?;
    Ok(dims)
}

/// Product of the dimensions from `first` on, within the limit on elements.
fn product(dims: &[usize], first: usize, tensor: &str) -> Result<u64, GgufError> {
    dims.iter()
        .skip(first)
        .try_fold(1u64, |product, &dim| product.checked_mul(to_u64(dim)))
        .filter(|&product| product <= limits::ELEMENTS)
        .ok_or_else(|| GgufError::TooManyElements {
            tensor: tensor.to_owned(),
            max: limits::ELEMENTS,
        })
}

fn read_quant(cursor: &mut Cursor, tensor: &str) -> Result<Quant, GgufError> {
    let ggml_type = cursor.u32("block type")?;
    Quant::from_ggml_type(ggml_type).ok_or_else(|| GgufError::UnknownBlockType {
        tensor: tensor.to_owned(),
        ggml_type,
        supported: Quant::ALL.map(Quant::name).join(" "),
    })
}

fn data_bytes(tensor: &str, quant: Quant, rows: u64, cols: usize) -> Result<u64, GgufError> {
    let partial = || GgufError::PartialBlock {
        tensor: tensor.to_owned(),
        cols: to_u64(cols),
        quant: quant.name(),
        block_len: to_u64(quant.block_len()),
    };
    let too_many =
        || GgufError::TooManyElements { tensor: tensor.to_owned(), max: limits::ELEMENTS };
    let row_bytes = quant.row_bytes(cols).ok_or_else(partial)?;
    to_u64(row_bytes).checked_mul(rows).ok_or_else(too_many)
}

/// Move the tensors' ranges to the data section and compare its end with the file's.
fn locate(gguf: &mut Gguf, header: u64, file: u64) -> Result<(), GgufError> {
    // Alignment and header are far below 2^63: no overflow.
    let data_start = header.checked_next_multiple_of(gguf.alignment).unwrap_or(u64::MAX);
    let mut end = header;
    for tensor in &mut gguf.tensors {
        let place = |at: usize| data_start.saturating_add(to_u64(at));
        let (start, stop) = (place(tensor.range.start), place(tensor.range.end));
        if stop > file {
            let tensor = tensor.name.clone();
            return Err(GgufError::TensorBeyondFile { tensor, end: stop, bytes: file });
        }
        tensor.range = to_usize(start)..to_usize(stop);
        end = stop;
    }
    let padded = end.checked_next_multiple_of(gguf.alignment).unwrap_or(u64::MAX);
    let found = file.saturating_sub(padded);
    if found > gguf.alignment {
        return Err(GgufError::TrailingBytes { found, max: gguf.alignment });
    }
    gguf.trailing_bytes = to_usize(found);
    gguf.data_start = to_usize(data_start.min(file));
    Ok(())
}

/// Places in `list` by name, and no name occurs twice.
fn by_name<T>(
    list: &[T],
    named: impl Fn(&T) -> &str,
    twice: impl Fn(String) -> GgufError,
) -> Result<Vec<u32>, GgufError> {
    let mut places = Vec::new();
    reserve_exact(&mut places, list.len())?;
    // Both lists are far shorter than 2^32.
    places.extend((0..list.len()).map(|place| u32::try_from(place).unwrap_or(u32::MAX)));
    let name = |place: &u32| usize::try_from(*place).ok().and_then(|at| list.get(at)).map(&named);
    places.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
    let same = places.array_windows().find(|[a, b]| name(a) == name(b));
    match same.and_then(|[a, _]| name(a)) {
        Some(name) => Err(twice(owned(name)?)),
        None => Ok(places),
    }
}

/// Room for as many more elements.
fn reserve_exact<T>(vec: &mut Vec<T>, len: usize) -> Result<(), GgufError> {
    vec.try_reserve_exact(len).map_err(|_| out_of_memory::<T>(len))
}

/// A copy of a name, where there is memory for it.
fn owned(text: &str) -> Result<String, GgufError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| out_of_memory::<u8>(text.len()))?;
    copy.push_str(text);
    Ok(copy)
}

fn out_of_memory<T>(len: usize) -> GgufError {
    GgufError::OutOfMemory { bytes: to_u64(len).saturating_mul(to_u64(size_of::<T>())) }
}

/// `usize` is at most 64 bits wide on every machine that Rust knows.
fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Only for values that were compared with the length of a slice, or with a small limit.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
