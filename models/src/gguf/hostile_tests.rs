//! Files that were made to break readers. Most cases are published attacks on other readers of
//! the format (integer overflows, aliasing tensors, zero dimensions, type confusion), made small.

use proptest::prelude::*;

use super::*;
use crate::AdapterFile;
use crate::arch::Arch;
use crate::arch::tests::{Changes, NAMES, small};

/// A file written by hand, so that it can say what the writer refuses to.
#[derive(Clone)]
struct Raw(Vec<u8>);

const U32: u32 = 4;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STR: u32 = 8;
const ARRAY: u32 = 9;

impl Raw {
    fn new(tensors: u64, keys: u64) -> Self {
        Raw(Vec::new()).bytes(b"GGUF").u32(3).u64(tensors).u64(keys)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn text(self, text: &[u8]) -> Self {
        self.u64(text.len() as u64).bytes(text)
    }

    fn key(self, key: &str, value_type: u32) -> Self {
        self.text(key.as_bytes()).u32(value_type)
    }

    fn tensor(self, name: &str, dims: &[u64], ggml_type: u32, offset: u64) -> Self {
        let start = self.text(name.as_bytes()).u32(dims.len() as u32);
        dims.iter().fold(start, |raw, &dim| raw.u64(dim)).u32(ggml_type).u64(offset)
    }

    /// Pads the header and appends `bytes` bytes of data.
    fn data(mut self, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + bytes, 0);
        self
    }

    fn error(&self) -> GgufError {
        Gguf::parse(&self.0).unwrap_err()
    }
}

fn t() -> String {
    "t".to_owned()
}

fn k() -> String {
    "k".to_owned()
}

#[test]
fn the_proper_file_behind_the_cases_is_accepted() {
    let file = Raw::new(2, 2)
        .key("k", U32)
        .u32(1)
        .key("general.alignment", U32)
        .u32(64)
        .tensor("t", &[4, 2], 0, 0)
        .tensor("u", &[32], 8, 64)
        .bytes(&[0; 42]) // up to a multiple of 64
        .data(98);
    let gguf = Gguf::parse(&file.0).unwrap();
    assert_eq!(gguf.tensor("u").unwrap().range.len(), 34);
}

#[test]
fn not_a_gguf_file() {
    let empty = Raw::new(0, 0).0;
    assert_eq!(Raw(empty[..23].to_vec()).error(), GgufError::TooShort { bytes: 23 });
    let zip = Raw(b"PK\x03\x04".to_vec()).bytes(&[0; 40]);
    assert_eq!(zip.error(), GgufError::NotGguf { found: *b"PK\x03\x04" });
    let version = |bytes: [u8; 4]| Raw(b"GGUF".to_vec()).bytes(&bytes).u64(0).u64(0).error();
    for found in [0, 1, 4, u32::MAX] {
        assert_eq!(version(found.to_le_bytes()), GgufError::Version { found });
    }
    for big_endian in [2u32, 3] {
        assert_eq!(version(big_endian.to_be_bytes()), GgufError::WrongEndian);
    }
    let message = version(1u32.to_le_bytes()).to_string();
    assert!(message.contains("version 1") && message.contains("convert"), "{message}");
}

#[test]
fn counts_beyond_limits_or_file() {
    let keys = |n| GgufError::Limit { field: "number of keys", found: n, max: limits::KEYS };
    for n in [4097, 1 << 32, u64::MAX] {
        assert_eq!(Raw::new(0, n).error(), keys(n));
        let found = Raw::new(n << 2 | 1, 0).error();
        assert!(matches!(found, GgufError::Limit { field: "number of tensors", .. }), "{found}");
    }
    let huge = Raw::new(16_384, 4096).bytes(&[0; 100]).error();
    assert_eq!(huge, GgufError::CountsExceedFile { keys: 4096, tensors: 16_384, left: 100 });
}

#[test]
fn keys() {
    for key in ["", "A", "a b", "a\0", "ä", "a/b", &"k".repeat(257)] {
        let file = Raw::new(0, 1).key(key, U32).u32(1).bytes(&[0; 32]);
        assert_eq!(file.error(), GgufError::BadKey { index: 0 }, "{key}");
    }
    let long = "k".repeat(256);
    assert!(Gguf::parse(&Raw::new(0, 1).key(&long, U32).u32(1).0).is_ok());
    let not_utf8 = Raw::new(0, 1).text(&[0xff, 0xfe]).u32(U32).u32(1);
    assert_eq!(not_utf8.error(), GgufError::BadKey { index: 0 });
    let twice = Raw::new(0, 2).key("k", U32).u32(1).key("k", U32).u32(2);
    assert_eq!(twice.error(), GgufError::DuplicateKey { key: k() });
    // A length whose end wraps around 64 bits.
    let wraps = Raw::new(0, 1).u64(u64::MAX - 30).u32(U32).u32(1);
    assert_eq!(wraps.error(), GgufError::BadKey { index: 0 });
}

#[test]
fn values() {
    for found in [13, 255, u32::MAX] {
        let unknown = Raw::new(0, 1).key("k", found).u32(1).bytes(&[0; 8]);
        assert_eq!(unknown.error(), GgufError::UnknownValueType { key: k(), found });
        let inside = Raw::new(0, 1).key("k", ARRAY).u32(found).u64(0);
        assert_eq!(inside.error(), GgufError::UnknownValueType { key: k(), found });
    }
    let bad = |found| GgufError::BadBool { key: k(), found };
    assert_eq!(Raw::new(0, 1).key("k", BOOL).bytes(&[2]).error(), bad(2));
    let array = Raw::new(0, 1).key("k", ARRAY).u32(BOOL).u64(3).bytes(&[1, 0, 255]);
    assert_eq!(array.error(), bad(255));
    let text = Raw::new(0, 1).key("k", STR).text(&[b'a', 0xc3]);
    assert_eq!(text.error(), GgufError::NotUtf8 { key: k() });
    // Half a value at the end of the file.
    let cut = Raw::new(0, 1).key("k", F32).bytes(&[0, 0]);
    let cut_at = cut.0.len() as u64 - 2;
    let truncated = |field, at, needed, left| GgufError::Truncated { field, at, needed, left };
    assert_eq!(cut.error(), truncated("value", cut_at, 4, 2));
}

#[test]
fn strings_longer_than_the_file_or_the_limit() {
    for found in [(1 << 20) + 1, u64::MAX, u64::MAX - 7, 1 << 63] {
        let text = Raw::new(0, 1).key("k", STR).u64(found).bytes(&[b'x'; 16]);
        let max = limits::STRING_BYTES;
        assert_eq!(text.error(), GgufError::ValueTooLong { key: k(), found, max });
    }
    let text = Raw::new(0, 1).key("k", STR).u64(17).bytes(&[b'x'; 16]);
    let field = "string";
    let at = text.0.len() as u64 - 16;
    assert_eq!(text.error(), GgufError::Truncated { field, at, needed: 17, left: 16 });
    let token = Raw::new(0, 1).key("k", ARRAY).u32(STR).u64(1).text(&[b'x'; 1025]);
    let max = limits::ARRAY_STRING_BYTES;
    assert_eq!(token.error(), GgufError::ValueTooLong { key: k(), found: 1025, max });
}

#[test]
fn arrays_longer_than_the_file_or_the_limit() {
    for found in [(1 << 21) + 1, 1 << 61, u64::MAX] {
        let array = Raw::new(0, 1).key("k", ARRAY).u32(F32).u64(found).bytes(&[0; 64]);
        let max = limits::ARRAY_LEN;
        assert_eq!(array.error(), GgufError::ValueTooLong { key: k(), found, max });
    }
    for (element, size) in [(F32, 4), (STR, 8), (12, 8)] {
        let array = Raw::new(0, 1).key("k", ARRAY).u32(element).u64(1 << 21).bytes(&[0; 64]);
        let needed = (1 << 21) * size;
        match array.error() {
            GgufError::Truncated { field: "array", needed: n, left: 64, .. } => {
                assert_eq!(n, needed);
            }
            other => panic!("{other}"),
        }
    }
    let nested = Raw::new(0, 1).key("k", ARRAY).u32(ARRAY).u64(1).u32(ARRAY).u64(1);
    assert_eq!(nested.error(), GgufError::NestedArray { key: k() });
}

#[test]
fn metadata_beyond_its_limit() {
    let array = vec![0; 8 << 21]; // five arrays of 16 MiB are more than 64 MiB
    let file = (0..5).fold(Raw::new(0, 5), |file, i| {
        file.key(&format!("k{i}"), ARRAY).u32(12).u64(1 << 21).bytes(&array)
    });
    match file.error() {
        GgufError::Limit { field: "size of metadata in bytes", max, .. } => {
            assert_eq!(max, limits::HEADER_BYTES as u64);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn alignment() {
    for found in [0, 1, 4, 12, 33, 1 << 17, u32::MAX] {
        let file = Raw::new(0, 1).key("general.alignment", U32).u32(found);
        assert_eq!(file.error(), GgufError::Alignment { found });
    }
    let wrong = Raw::new(0, 1).key("general.alignment", 10).u64(32);
    let (found, wanted) = (ValueType::U64, ValueType::U32);
    let key = "general.alignment".to_owned();
    assert_eq!(wrong.error(), GgufError::WrongType { key, found, wanted });
}

#[test]
fn tensor_names() {
    for name in ["", &"n".repeat(64)] {
        let file = Raw::new(1, 0).tensor(name, &[8], 0, 0).data(32);
        assert_eq!(file.error(), GgufError::BadTensorName { index: 0 });
    }
    let huge = Raw::new(1, 0).u64(u64::MAX).bytes(&[0; 64]);
    assert_eq!(huge.error(), GgufError::BadTensorName { index: 0 });
    let not_utf8 = Raw::new(1, 0).text(&[0xff]).u32(1).u64(8).u32(0).u64(0).data(32);
    assert_eq!(not_utf8.error(), GgufError::BadTensorName { index: 0 });
    let twice = Raw::new(2, 0).tensor("t", &[8], 0, 0).tensor("t", &[8], 0, 32).data(64);
    assert_eq!(twice.error(), GgufError::DuplicateTensor { tensor: t() });
}

#[test]
fn dimensions() {
    for dims in [&[][..], &[1; 5], &[1; 64]] {
        let found = dims.len() as u32;
        let file = Raw::new(1, 0).tensor("t", dims, 0, 0).data(64);
        assert_eq!(file.error(), GgufError::DimensionCount { tensor: t(), found });
    }
    let many = Raw::new(1, 0).text(b"t").u32(u32::MAX).bytes(&[0; 64]);
    assert_eq!(many.error(), GgufError::DimensionCount { tensor: t(), found: u32::MAX });
    let max = limits::DIMENSION;
    for (dims, axis, found) in [
        (&[0u64][..], 0, 0),
        (&[8, 0], 1, 0),
        (&[1 << 32, 1 << 32], 0, 1 << 32),
        (&[8, (1 << 42) + 1], 1, (1 << 42) + 1),
        (&[u64::MAX], 0, u64::MAX),
    ] {
        let file = Raw::new(1, 0).tensor("t", dims, 0, 0).data(64);
        assert_eq!(file.error(), GgufError::Dimension { tensor: t(), axis, found, max });
    }
    // 2^124 elements, and 2^64, whose product wraps to nothing in 64 bits.
    for dims in [&[1u64 << 31; 4][..], &[1 << 31, 1 << 31, 4], &[1 << 21, 1 << 20]] {
        let file = Raw::new(1, 0).tensor("t", dims, 0, 0).data(64);
        let max = limits::ELEMENTS;
        assert_eq!(file.error(), GgufError::TooManyElements { tensor: t(), max });
    }
}

#[test]
fn block_types() {
    // 4, 5: removed; 16: not ours; the others never were.
    for ggml_type in [4, 5, 16, 40, 255, u32::MAX] {
        let file = Raw::new(1, 0).tensor("t", &[256], ggml_type, 0).data(256);
        let supported = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K".to_owned();
        let error = GgufError::UnknownBlockType { tensor: t(), ggml_type, supported };
        assert!(error.to_string().contains("quantize the model to one of F32"));
        assert_eq!(file.error(), error);
    }
    let partial = Raw::new(1, 0).tensor("t", &[48, 2], 2, 0).data(64);
    let (quant, cols, block_len) = ("Q4_0", 48, 32);
    assert_eq!(partial.error(), GgufError::PartialBlock { tensor: t(), cols, quant, block_len });
}

#[test]
fn data_that_overlap_leave_holes_or_end_behind_the_file() {
    let two = |offset| Raw::new(2, 0).tensor("u", &[8], 0, 0).tensor("t", &[8], 0, offset).data(96);
    // The same data, half the same data, misaligned, a hole, far away, wrapping.
    for found in [0, 16, 33, 64, 1 << 40, u64::MAX - 31] {
        assert_eq!(two(found).error(), GgufError::Offset { tensor: t(), found, expected: 32 });
    }
    assert!(Gguf::parse(&two(32).0).is_ok());
    let first = Raw::new(1, 0).tensor("t", &[8], 0, 32).data(64);
    assert_eq!(first.error(), GgufError::Offset { tensor: t(), found: 32, expected: 0 });

    let file = Raw::new(1, 0).tensor("t", &[1 << 20], 0, 0).data(64);
    let (end, bytes) = (4 << 20, file.0.len() as u64);
    assert_eq!(file.error(), GgufError::TensorBeyondFile { tensor: t(), end, bytes });
    let by_one = Raw::new(1, 0).tensor("t", &[8], 0, 0).data(31);
    let bytes = by_one.0.len() as u64;
    let error = GgufError::TensorBeyondFile { tensor: t(), end: bytes + 1, bytes };
    assert_eq!(by_one.error(), error);
    // Without its padding the header itself is longer than the file.
    let no_data = Raw::new(1, 0).tensor("t", &[1], 0, 0);
    assert!(matches!(no_data.error(), GgufError::TensorBeyondFile { .. }));
}

#[test]
fn bytes_behind_the_last_tensor() {
    let file = |bytes| Raw::new(1, 0).tensor("t", &[8], 0, 0).data(bytes);
    assert_eq!(Gguf::parse(&file(64).0).unwrap().trailing_bytes(), 32);
    assert_eq!(file(65).error(), GgufError::TrailingBytes { found: 33, max: 32 });
    let zip = Raw::new(0, 0).data(0).bytes(&[1; 100]);
    assert!(matches!(zip.error(), GgufError::TrailingBytes { found: 100.., .. }));
}

/// Run everything that reads a file on bytes that may be anything; the results do not matter,
/// that there are results does.
fn read_everything(file: &[u8]) {
    let Ok(gguf) = Gguf::parse(file) else { return };
    for (key, value) in gguf.metadata() {
        assert_eq!(gguf.value(key).map(|v| v.value_type()), Some(value.value_type()));
        if let Value::Array(array) = value {
            for index in 0..=array.len() {
                let _ = (array.get(index), array.string(index));
            }
        }
        let _ = (gguf.opt_str(key), gguf.opt_u32(key), gguf.opt_u64(key), gguf.opt_f32(key));
        let _ = (gguf.opt_bool(key), gguf.opt_strings(key).map(|s| s.map(Iterator::count)));
        let _ = gguf.opt_f32s(key).map(|s| s.map(Iterator::count));
    }
    for tensor in gguf.tensors() {
        let bytes = &file[tensor.range.clone()];
        assert_eq!(Some(bytes.len() / tensor.rows), tensor.quant.row_bytes(tensor.cols));
    }
    let _ = fingerprint(&gguf, file);
    if let Ok(arch) = Arch::from_gguf(&gguf) {
        for (name, (rows, cols)) in arch.tensors() {
            let tensor = gguf.tensor(&name).unwrap();
            assert_eq!((tensor.rows, tensor.cols), (rows, cols));
        }
        let _ = AdapterFile::parse(file, &arch);
    }
}

/// A file with a value of every type.
fn zoo() -> Vec<u8> {
    let mut writer = GgufWriter::new();
    writer.put("u8", Value::U8(1));
    writer.put("i8", Value::I8(-1));
    writer.put("u16", Value::U16(2));
    writer.put("i16", Value::I16(-2));
    writer.put("u32", 3u32);
    writer.put("i32", Value::I32(-3));
    writer.put("f32", 1.5f32);
    writer.put("bool", true);
    writer.put("str", "text");
    writer.put("u64", Value::U64(4));
    writer.put("i64", Value::I64(-4));
    writer.put("f64", Value::F64(2.5));
    writer.put("general.alignment", 8u32);
    writer.put_strings("strings", &["a", "", "bc"]);
    writer.put_f32s("f32s", &[1.0, 2.0]);
    for (index, quant) in Quant::ALL.into_iter().enumerate() {
        let dims = [quant.block_len(), 1 + index % 2];
        let data = vec![index as u8; quant.block_bytes() * dims[1]];
        writer.tensor(quant.name(), quant, &dims, data);
    }
    writer.to_bytes()
}

#[test]
fn cut_anywhere_it_is_an_error() {
    let file = zoo();
    let data_end = Gguf::parse(&file).unwrap().tensors().last().unwrap().range.end;
    for len in 0..file.len() {
        assert_eq!(Gguf::parse(&file[..len]).is_ok(), len >= data_end, "{len} bytes");
    }
}

#[test]
fn no_change_of_a_header_byte_panics() {
    let file = zoo();
    let header = Gguf::parse(&file).unwrap().data_start();
    let mut changed = file.clone();
    for at in 0..header {
        for byte in 0..=255 {
            changed[at] = byte;
            read_everything(&changed);
        }
        changed[at] = file[at];
    }
}

#[test]
fn the_same_bytes_give_the_same_result() {
    let file = zoo();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x41;
        let [first, second] = [(); 2].map(|()| match Gguf::parse(&changed) {
            Ok(gguf) => format!("{:?}", (gguf.tensors(), gguf.metadata().collect::<Vec<_>>())),
            Err(error) => format!("{error:?}"),
        });
        assert_eq!(first, second);
    }
}

/// Numbers at which sizes overflow, limits lie, or signs change.
const EDGES: [u64; 12] = [
    0,
    1,
    31,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn no_mutation_of_a_model_panics(
        name in prop::sample::select(NAMES.to_vec()),
        edits in prop::collection::vec((any::<u16>(), 0..3u8, any::<u64>()), 1..4),
        cut in prop::option::weighted(0.1, any::<u16>()),
    ) {
        let mut file = small(name, &Changes::default());
        let header = Gguf::parse(&file).unwrap().data_start();
        for (at, kind, value) in edits {
            let at = usize::from(at) % (header - 8);
            match kind {
                0 => file[at] = value as u8,
                1 => {
                    let edge = EDGES[value as usize % EDGES.len()];
                    file[at..at + 8].copy_from_slice(&edge.to_le_bytes());
                }
                _ => {
                    let edge = EDGES[value as usize % EDGES.len()] as u32;
                    file[at..at + 4].copy_from_slice(&edge.to_le_bytes());
                }
            }
        }
        if let Some(cut) = cut {
            file.truncate(usize::from(cut) % file.len());
        }
        read_everything(&file);
    }
}
