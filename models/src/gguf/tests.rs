//! Round trips, real files, cost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Mapped;

/// Files of a folder of the shared data with that extension; empty, and loudly so, without it.
pub(crate) fn shared_files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(folder);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        eprintln!("SKIPPED: no .{extension} files in {}", root.display());
    }
    files
}

#[derive(Clone, Debug)]
enum Owned {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    U64(u64),
    I64(i64),
    F64(f64),
    Strings(Vec<Vec<u8>>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

fn owned() -> impl Strategy<Value = Owned> {
    // No NaN: values are compared with `==`.
    let f32s = || any::<i16>().prop_map(|v| f32::from(v) / 64.0);
    prop_oneof![
        any::<u8>().prop_map(Owned::U8),
        any::<i8>().prop_map(Owned::I8),
        any::<u16>().prop_map(Owned::U16),
        any::<i16>().prop_map(Owned::I16),
        any::<u32>().prop_map(Owned::U32),
        any::<i32>().prop_map(Owned::I32),
        f32s().prop_map(Owned::F32),
        any::<bool>().prop_map(Owned::Bool),
        ".{0,20}".prop_map(Owned::Str),
        any::<u64>().prop_map(Owned::U64),
        any::<i64>().prop_map(Owned::I64),
        any::<i32>().prop_map(|v| Owned::F64(f64::from(v) / 3.0)),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)
            .prop_map(Owned::Strings),
        prop::collection::vec(f32s(), 0..9).prop_map(Owned::F32s),
        prop::collection::vec(any::<i32>(), 0..9).prop_map(Owned::I32s),
    ]
}

fn put(writer: &mut GgufWriter, key: &str, value: &Owned) {
    match value {
        Owned::U8(v) => writer.put(key, Value::U8(*v)),
        Owned::I8(v) => writer.put(key, Value::I8(*v)),
        Owned::U16(v) => writer.put(key, Value::U16(*v)),
        Owned::I16(v) => writer.put(key, Value::I16(*v)),
        Owned::U32(v) => writer.put(key, *v),
        Owned::I32(v) => writer.put(key, Value::I32(*v)),
        Owned::F32(v) => writer.put(key, *v),
        Owned::Bool(v) => writer.put(key, *v),
        Owned::Str(v) => writer.put(key, v.as_str()),
        Owned::U64(v) => writer.put(key, Value::U64(*v)),
        Owned::I64(v) => writer.put(key, Value::I64(*v)),
        Owned::F64(v) => writer.put(key, Value::F64(*v)),
        Owned::Strings(v) => writer.put_strings(key, v),
        Owned::F32s(v) => writer.put_f32s(key, v),
        Owned::I32s(v) => writer.put_i32s(key, v),
    }
}

fn check(gguf: &Gguf, key: &str, value: &Owned) {
    let stored = gguf.value(key).unwrap();
    match value {
        Owned::U8(v) => assert_eq!(stored, Value::U8(*v)),
        Owned::I8(v) => assert_eq!(stored, Value::I8(*v)),
        Owned::U16(v) => assert_eq!(stored, Value::U16(*v)),
        Owned::I16(v) => assert_eq!(stored, Value::I16(*v)),
        Owned::U32(v) => assert_eq!(gguf.u32(key), Ok(*v)),
        Owned::I32(v) => assert_eq!(stored, Value::I32(*v)),
        Owned::F32(v) => assert_eq!(gguf.f32(key), Ok(*v)),
        Owned::Bool(v) => assert_eq!(gguf.opt_bool(key), Ok(Some(*v))),
        Owned::Str(v) => assert_eq!(gguf.str(key), Ok(v.as_str())),
        Owned::U64(v) => assert_eq!(stored, Value::U64(*v)),
        Owned::I64(v) => assert_eq!(stored, Value::I64(*v)),
        Owned::F64(v) => assert_eq!(stored, Value::F64(*v)),
        Owned::Strings(v) => {
            let strings = gguf.strings(key).unwrap();
            assert_eq!(strings.len(), v.len());
            assert!(strings.eq(v.iter().map(Vec::as_slice)));
        }
        Owned::F32s(v) => assert!(gguf.f32s(key).unwrap().eq(v.iter().copied())),
        Owned::I32s(v) => assert!(gguf.opt_i32s(key).unwrap().unwrap().eq(v.iter().copied())),
    }
}

/// A tensor to write: block type, blocks in a row, further dimensions, a byte to fill it with.
fn tensors() -> impl Strategy<Value = Vec<(Quant, usize, Vec<usize>, u8)>> {
    let quant = prop::sample::select(Quant::ALL.to_vec());
    let outer = prop::collection::vec(1usize..4, 0..4);
    prop::collection::vec((quant, 1usize..4, outer, any::<u8>()), 0..6)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        values in prop::collection::vec(owned(), 0..12),
        tensors in tensors(),
        alignment in prop::option::of(3u32..8),
    ) {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(quant, blocks, outer, fill)| {
                vec![*fill; quant.block_bytes() * blocks * outer.iter().product::<usize>()]
            })
            .collect();
        let mut writer = GgufWriter::new();
        if let Some(log2) = alignment {
            writer.put("general.alignment", 1u32 << log2);
        }
        for (i, value) in values.iter().enumerate() {
            put(&mut writer, &format!("key.{i}"), value);
        }
        for (i, ((quant, blocks, outer, _), data)) in tensors.iter().zip(&data).enumerate() {
            let dims: Vec<usize> =
                std::iter::once(blocks * quant.block_len()).chain(outer.iter().copied()).collect();
            writer.tensor(&format!("t{i}"), *quant, &dims, data);
        }
        let file = writer.to_bytes();
        prop_assert_eq!(&file, &writer.to_bytes());

        let gguf = Gguf::parse(&file).unwrap();
        prop_assert_eq!(&file[4..8], 3u32.to_le_bytes());
        prop_assert_eq!(gguf.trailing_bytes(), 0);
        let first = usize::from(alignment.is_some());
        prop_assert_eq!(gguf.metadata().len(), values.len() + first);
        for (i, (value, (key, _))) in values.iter().zip(gguf.metadata().skip(first)).enumerate() {
            prop_assert_eq!(key, format!("key.{i}"));
            check(&gguf, key, value);
        }
        prop_assert_eq!(gguf.tensors().len(), tensors.len());
        for (i, ((quant, blocks, outer, _), data)) in tensors.iter().zip(&data).enumerate() {
            let tensor = gguf.tensor(&format!("t{i}")).unwrap();
            prop_assert_eq!(tensor, &gguf.tensors()[i]);
            prop_assert_eq!(tensor.quant, *quant);
            prop_assert_eq!(tensor.cols, blocks * quant.block_len());
            prop_assert_eq!(tensor.rows, outer.iter().product::<usize>());
            prop_assert_eq!(tensor.range.start % gguf.alignment(), 0);
            prop_assert_eq!(&file[tensor.range.clone()], data.as_slice());
        }

        // Copying every value and tensor through the reader's view gives the same file.
        let mut copy = GgufWriter::new();
        for (key, value) in gguf.metadata() {
            copy.put(key, value);
        }
        for tensor in gguf.tensors() {
            copy.tensor(&tensor.name, tensor.quant, &tensor.dims, &file[tensor.range.clone()]);
        }
        prop_assert_eq!(copy.to_bytes(), file);
    }
}

#[test]
fn getters_never_cast() {
    let mut writer = GgufWriter::new();
    writer.put("u8", Value::U8(1));
    writer.put("u32", 1u32);
    writer.put("text", "x");
    writer.put_f32s("floats", &[1.0]);
    let gguf = Gguf::parse(&writer.to_bytes()).unwrap();
    let wrong = |found, wanted, key: &str| GgufError::WrongType { key: key.into(), found, wanted };
    assert_eq!(gguf.u32("u8"), Err(wrong(ValueType::U8, ValueType::U32, "u8")));
    assert_eq!(gguf.opt_f32("u32"), Err(wrong(ValueType::U32, ValueType::F32, "u32")));
    assert_eq!(gguf.opt_bool("u8"), Err(wrong(ValueType::U8, ValueType::Bool, "u8")));
    assert_eq!(gguf.str("floats"), Err(wrong(ValueType::Array, ValueType::Str, "floats")));
    let ints = gguf.opt_i32s("floats").map(|ints| ints.is_some());
    assert_eq!(ints, Err(wrong(ValueType::F32, ValueType::I32, "floats")));
    let strings = gguf.strings("text").map(|_| ());
    assert_eq!(strings, Err(wrong(ValueType::Str, ValueType::Array, "text")));
    assert_eq!(gguf.str("none"), Err(GgufError::MissingKey { key: "none".into() }));
    assert_eq!(gguf.opt_str("none"), Ok(None));
    assert!(gguf.opt_strings("none").unwrap().is_none());
}

#[test]
fn real_models_and_vocabularies_are_read() {
    for path in shared_files("models", "gguf").iter().chain(&shared_files("vocab", "gguf")) {
        let file = Mapped::open(path).unwrap();
        let gguf = Gguf::parse(file.bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(!gguf.str("general.architecture").unwrap().is_empty());
        let tokens = gguf.strings("tokenizer.ggml.tokens").unwrap();
        assert!(tokens.clone().all(|token| token.len() <= 1024), "{}", path.display());
        if let Some(embedding) = gguf.tensor("token_embd.weight") {
            assert_eq!(embedding.rows, tokens.len(), "{}", path.display());
            let last = gguf.tensors().last().unwrap();
            assert!(file.bytes().len() - last.range.end <= gguf.alignment());
        }
    }
}

#[test]
fn version_1_is_refused_by_name() {
    for path in shared_files("models", "gguf-v1") {
        let file = Mapped::open(&path).unwrap();
        assert_eq!(Gguf::parse(file.bytes()).unwrap_err(), GgufError::Version { found: 1 });
    }
}

/// Time that this thread has run, where the system says; else the time of day. A machine that
/// is busy with other things slows only the latter down.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap(),
    }
}

/// The bound is for the whole header on a phone; a desktop core has to be well below it.
#[test]
fn a_large_vocabulary_is_read_in_time() {
    let tokens: Vec<String> = (0..262_144).map(|i| format!("token-{i}")).collect();
    let merges: Vec<String> = (0..500_000).map(|i| format!("left-{i} right-{i}")).collect();
    let mut writer = GgufWriter::new();
    writer.put_strings("tokenizer.ggml.tokens", &tokens);
    writer.put_strings("tokenizer.ggml.merges", &merges);
    let file = writer.to_bytes();
    let read = || {
        let start = thread_time();
        let gguf = Gguf::parse(&file).unwrap();
        assert_eq!(gguf.strings("tokenizer.ggml.merges").unwrap().len(), merges.len());
        thread_time() - start
    };
    let best = (0..5).map(|_| read()).min().unwrap();
    eprintln!("262144 tokens, 500000 merges, {} bytes: {best:?}", file.len());
    assert!(best < Duration::from_millis(150), "{best:?}");
}

/// What `inspect` shows, and what an error calls it when another type was needed.
#[test]
fn every_value_is_shown_and_called_by_its_type() {
    let scalars = [
        ("u8", Value::U8(200), "200"),
        ("i8", Value::I8(-3), "-3"),
        ("u16", Value::U16(60_000), "60000"),
        ("i16", Value::I16(-300), "-300"),
        ("u32", Value::U32(1 << 31), "2147483648"),
        ("i32", Value::I32(-70_000), "-70000"),
        ("f32", Value::F32(0.5), "0.5"),
        ("bool", Value::Bool(true), "true"),
        ("string", Value::Str("text"), "text"),
        ("u64", Value::U64(u64::MAX), "18446744073709551615"),
        ("i64", Value::I64(i64::MIN), "-9223372036854775808"),
        ("f64", Value::F64(-0.25), "-0.25"),
    ];
    let mut writer = GgufWriter::default();
    scalars.iter().for_each(|(key, value, _)| writer.put(key, *value));
    writer.put_strings("strings", &["a", "b"]);
    writer.put_strings("same", &["a", "b"]);
    writer.put_strings("others", &["a", "c"]);
    writer.put_f32s("floats", &[1.0]);
    writer.put_f32s("none", &[]);
    let file = writer.to_bytes();
    let gguf = Gguf::parse(&file).unwrap();
    for (key, value, shown) in scalars {
        assert_eq!(gguf.value(key), Some(value));
        assert_eq!(gguf.value(key).unwrap().to_string(), shown);
        let error = gguf.opt_strings(key).err().unwrap().to_string();
        assert!(error.contains(key) && error.matches(key).count() >= 2, "{error}");
    }
    let error = gguf.opt_str("strings").unwrap_err().to_string();
    assert!(error.contains("array"), "{error}");
    assert_eq!(gguf.value("strings").unwrap().to_string(), "[string; 2]");
    assert_eq!(gguf.value("strings"), gguf.value("same"));
    assert_ne!(gguf.value("strings"), gguf.value("others"));
    assert_ne!(gguf.value("strings"), gguf.value("floats"));
    assert_ne!(gguf.value("none"), gguf.value("floats"));
    let Some(Value::Array(none)) = gguf.value("none") else { panic!("an array") };
    assert!(none.is_empty() && none.get(0).is_none());
}

#[test]
fn elements_of_an_array_come_one_by_one() {
    let mut writer = GgufWriter::new();
    writer.put_strings("texts", &[&b"a"[..], b"\xff", b"bc"]);
    writer.put_i32s("numbers", &[7, -8]);
    let file = writer.to_bytes();
    let gguf = Gguf::parse(&file).unwrap();
    let array = |key: &str| match gguf.value(key) {
        Some(Value::Array(array)) => array,
        other => panic!("{other:?}"),
    };
    let (texts, numbers) = (array("texts"), array("numbers"));
    assert!(!texts.is_empty() && !numbers.is_empty());
    assert_eq!((texts.get(0), texts.get(1), texts.get(3)), (Some(Value::Str("a")), None, None));
    assert_eq!((texts.string(1), texts.string(2)), (Some(&b"\xff"[..]), Some(&b"bc"[..])));
    assert_eq!((numbers.get(0), numbers.get(1)), (Some(Value::I32(7)), Some(Value::I32(-8))));
    assert_eq!((numbers.get(2), numbers.get(usize::MAX), numbers.string(0)), (None, None, None));
    assert_eq!(texts, texts);
    assert_ne!(texts, numbers);
}

#[test]
fn a_file_says_how_long_it_is_and_how_aligned() {
    for alignment in [8, 32, 64] {
        let mut writer = GgufWriter::new();
        if alignment != 32 {
            writer.put("general.alignment", alignment as u32);
        }
        for name in ["a", "b"] {
            writer.tensor(name, Quant::F32, &[3], vec![1; 12]);
        }
        let mut file = Vec::new();
        assert_eq!(writer.write_to(&mut file).unwrap(), file.len() as u64);
        let gguf = Gguf::parse(&file).unwrap();
        assert_eq!((gguf.alignment(), gguf.data_start() % alignment), (alignment, 0));
        let distance = gguf.tensors()[1].range.start - gguf.tensors()[0].range.start;
        assert_eq!(distance, 12_usize.next_multiple_of(alignment));
    }
}

/// What decides what a model computes decides its fingerprint, each by itself.
#[test]
fn a_fingerprint_knows_names_shapes_and_bytes_apart() {
    let of = |tensors: &[(&str, &[usize], u8)], hyper: &[(&str, u32)], name: &str| {
        let mut writer = GgufWriter::new();
        writer.put("general.architecture", "llama");
        writer.put("general.name", name);
        hyper.iter().for_each(|(key, value)| writer.put(key, *value));
        for (name, dims, fill) in tensors {
            let bytes = 4 * dims.iter().product::<usize>();
            writer.tensor(name, Quant::F32, dims, vec![*fill; bytes]);
        }
        let file = writer.to_bytes();
        fingerprint(&Gguf::parse(&file).unwrap(), &file)
    };
    let shape: &[usize] = &[2, 4];
    let one = of(&[("a", shape, 1), ("b", shape, 1)], &[("llama.x", 1)], "it");
    assert_eq!(of(&[("a", shape, 1), ("b", shape, 1)], &[("llama.x", 1)], "another"), one);
    let others = [
        of(&[("a", shape, 1), ("c", shape, 1)], &[("llama.x", 1)], "it"),
        of(&[("a", shape, 1), ("b", shape, 2)], &[("llama.x", 1)], "it"),
        of(&[("a", shape, 1), ("b", &[4, 2], 1)], &[("llama.x", 1)], "it"),
        of(&[("a", shape, 1), ("b", &[8], 1)], &[("llama.x", 1)], "it"),
        of(&[("a", shape, 1), ("b", shape, 1)], &[("llama.x", 2)], "it"),
        of(&[("a", shape, 1), ("b", shape, 1)], &[("llama.y", 1)], "it"),
        of(&[("a", shape, 1), ("b", shape, 1)], &[("llama.x", 1), ("llama.y", 1)], "it"),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, one, "case {at}");
        assert!(!others[..at].contains(other), "case {at} is as another one");
    }
}

#[test]
fn what_reaches_a_limit_is_within_it() {
    let mut writer = GgufWriter::new();
    let text = "x".repeat(limits::STRING_BYTES as usize);
    let token = "y".repeat(limits::ARRAY_STRING_BYTES as usize);
    let name = "z".repeat(limits::NAME_BYTES as usize);
    writer.put("text", text.as_str());
    writer.put_strings("tokens", &[&token]);
    writer.tensor(&name, Quant::F32, &[1], vec![0; 4]);
    let file = writer.to_bytes();
    let gguf = Gguf::parse(&file).unwrap();
    assert_eq!(gguf.str("text"), Ok(text.as_str()));
    assert_eq!(gguf.opt_strings("tokens").unwrap().unwrap().next().unwrap(), token.as_bytes());
    assert!(gguf.tensor(&name).is_some());
}
