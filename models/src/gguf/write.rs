//! Writing GGUF: the same input always gives the same bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

use super::limits;
use super::read::is_key_byte;
use super::value::{Value, ValueType, encode_string};
use sapwood_kernels::quant::Quant;

/// Collects metadata and tensors, then writes a GGUF file of version 3.
///
/// Keys and tensors keep the order in which they were added; tensor data are aligned and padded
/// with zeros, also behind the last tensor. What it writes, [`Gguf::parse`](super::Gguf::parse)
/// reads back as equal: arguments that could not be read back are bugs of the caller and panic.
#[derive(Clone, Debug)]
pub struct GgufWriter<'a> {
    metadata: Vec<u8>,
    keys: HashSet<String>,
    names: HashSet<String>,
    tensors: Vec<Tensor<'a>>,
    alignment: usize,
}

#[derive(Clone, Debug)]
struct Tensor<'a> {
    name: String,
    quant: Quant,
    dims: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl Default for GgufWriter<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> GgufWriter<'a> {
    /// A file without keys and tensors, with the default alignment of 32 bytes.
    pub fn new() -> Self {
        Self {
            metadata: Vec::new(),
            keys: HashSet::new(),
            names: HashSet::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    /// Add a key with a number, a bool, a text, or a whole value of another file
    /// (`general.alignment` also sets the alignment of the data).
    ///
    /// # Panics
    /// As for all methods that add a key: on a key that occurs already or is not 1 to 256
    /// characters of `[a-z0-9._-]`, and on a value beyond [`limits`].
    pub fn put<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        let value = value.into();
        if key == "general.alignment" {
            let Value::U32(alignment) = value else { panic!("general.alignment must be u32") };
            assert!(alignment.is_power_of_two() && limits::ALIGNMENT.contains(&alignment));
            self.alignment = alignment as usize;
        }
        self.key(key);
        if let Value::Str(text) = value {
            assert!(text.len() as u64 <= limits::STRING_BYTES, "{key}: {} bytes", text.len());
        }
        value.encode(&mut |bytes| self.metadata.extend(bytes));
    }

    /// Add a key with an array of strings (any bytes).
    ///
    /// # Panics
    /// See [`GgufWriter::put`].
    pub fn put_strings<S: AsRef<[u8]>>(&mut self, key: &str, strings: &[S]) {
        self.array_start(key, ValueType::Str, strings.len());
        for string in strings {
            let string = string.as_ref();
            let len = string.len();
            assert!(len as u64 <= limits::ARRAY_STRING_BYTES, "{key}: a string of {len} bytes");
            encode_string(string, &mut |bytes| self.metadata.extend(bytes));
        }
    }

    /// Add a key with an array of `f32`.
    ///
    /// # Panics
    /// See [`GgufWriter::put`].
    pub fn put_f32s(&mut self, key: &str, values: &[f32]) {
        self.array_start(key, ValueType::F32, values.len());
        self.metadata.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    /// Add a key with an array of `i32`.
    ///
    /// # Panics
    /// See [`GgufWriter::put`].
    pub fn put_i32s(&mut self, key: &str, values: &[i32]) {
        self.array_start(key, ValueType::I32, values.len());
        self.metadata.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    /// Add a tensor: its dimensions, the contiguous one first, and its encoded data.
    ///
    /// # Panics
    /// On a name that occurs already or is not 1 to 63 bytes long, on dimensions that are not
    /// whole blocks of `quant`, and on data of another length than they need.
    pub fn tensor(
        &mut self,
        name: &str,
        quant: Quant,
        dims: &[usize],
        data: impl Into<Cow<'a, [u8]>>,
    ) {
        let data = data.into();
        assert!((1..=limits::NAME_BYTES).contains(&(name.len() as u64)), "tensor name {name:?}");
        assert!(self.names.insert(name.to_owned()), "tensor {name} twice");
        assert!((1..=4).contains(&dims.len()) && !dims.contains(&0), "{name}: dims {dims:?}");
        let row = quant.row_bytes(dims[0]).expect("rows of whole blocks");
        assert_eq!(data.len(), row * dims[1..].iter().product::<usize>(), "data of {name}");
        self.tensors.push(Tensor { name: name.to_owned(), quant, dims: dims.to_vec(), data });
    }

    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Write the whole file and return its length in bytes.
    ///
    /// # Errors
    /// Those of `out`. The caller flushes and syncs.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<u64> {
        let mut header = Vec::new();
        header.extend(b"GGUF");
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.keys.len() as u64).to_le_bytes());
        header.extend(&self.metadata);
        let mut offset = 0;
        for tensor in &self.tensors {
            header.extend((tensor.name.len() as u64).to_le_bytes());
            header.extend(tensor.name.as_bytes());
            header.extend((tensor.dims.len() as u32).to_le_bytes());
            for &dim in &tensor.dims {
                header.extend((dim as u64).to_le_bytes());
            }
            header.extend(tensor.quant.ggml_type().to_le_bytes());
            header.extend((offset as u64).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment);
        }
        header.resize(header.len().next_multiple_of(self.alignment), 0);
        out.write_all(&header)?;
        let zeros = vec![0; self.alignment];
        for tensor in &self.tensors {
            let len = tensor.data.len();
            out.write_all(&tensor.data)?;
            out.write_all(&zeros[..len.next_multiple_of(self.alignment) - len])?;
        }
        Ok((header.len() + offset) as u64)
    }

    fn key(&mut self, key: &str) {
        let valid = (1..=limits::KEY_BYTES).contains(&(key.len() as u64));
        assert!(valid && key.bytes().all(is_key_byte), "key {key:?}");
        assert!(self.keys.insert(key.to_owned()), "key {key} twice");
        self.metadata.extend((key.len() as u64).to_le_bytes());
        self.metadata.extend(key.as_bytes());
    }

    fn array_start(&mut self, key: &str, element: ValueType, len: usize) {
        assert!(len as u64 <= limits::ARRAY_LEN, "{key}: {len} elements");
        self.key(key);
        self.metadata.extend(ValueType::Array.number().to_le_bytes());
        self.metadata.extend(element.number().to_le_bytes());
        self.metadata.extend((len as u64).to_le_bytes());
    }
}
