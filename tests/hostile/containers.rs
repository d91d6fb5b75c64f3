//! Attacks with what is in front of the tensors.

use super::file::{ARRAY, BOOL, Description, Encoded, STRING, U32};
use super::{Case, case};

/// A file with one key.
fn with_key(key: &[u8], value: Encoded) -> Vec<u8> {
    let mut file = Description::default();
    file.keys.push((key.to_vec(), value));
    file.write()
}

/// A text that claims this many bytes.
fn long_text(len: u64) -> Encoded {
    Encoded { value_type: STRING, bytes: [&len.to_le_bytes()[..], b"short"].concat() }
}

pub fn cases() -> Vec<Case> {
    let count = |keys, tensors| {
        Description { key_count: keys, tensor_count: tensors, ..Description::default() }.write()
    };
    let cut = Description { cut: Some(4), ..Description::default() }.write();
    let mut twice = Description::default();
    twice.keys.push((b"k".to_vec(), Encoded::u32(1)));
    twice.keys.push((b"k".to_vec(), Encoded::u32(2)));
    let array = |element, count| Encoded::array(element, count, &[0; 16]);
    // Sixty-four arrays, each inside the one before.
    let nest: Vec<u8> = (0..64)
        .flat_map(|_| [ARRAY.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat())
        .collect();
    let nested = Encoded { value_type: ARRAY, bytes: nest };
    vec![
        case("a magic number and nothing else", "CVE-2024-39720 (ollama)", cut, ("TooShort", "24")),
        case(
            "2^63 keys",
            "CVE-2024-23605 (Talos, ggml)",
            count(Some(1 << 63), None),
            ("Limit", "number of keys"),
        ),
        case(
            "2^32 tensors",
            "CVE-2024-21836 (Talos, ggml)",
            count(None, Some(1 << 32)),
            ("Limit", "number of tensors"),
        ),
        case(
            "more keys than the file can hold",
            "ollama/ollama#17042",
            count(Some(4000), None),
            ("CountsExceedFile", "4000 keys"),
        ),
        case(
            "a text of 2^64-1 bytes: plus one is none",
            "CVE-2024-23496 (Talos, ggml); Tiiny-AI/PowerInfer#256",
            with_key(b"k", long_text(u64::MAX)),
            ("ValueTooLong", "key k"),
        ),
        case(
            "a text of a gigabyte in a file of a few bytes",
            "ggml-org/ggml#1516",
            with_key(b"k", long_text(1 << 30)),
            ("ValueTooLong", "key k"),
        ),
        case(
            "a text longer than the file",
            "ggml-org/llama.cpp#19856",
            with_key(b"k", long_text(1000)),
            ("Truncated", "string"),
        ),
        case(
            "a key of 2^64-1 bytes",
            "ggml-org/ggml#709",
            {
                let mut file = count(Some(1), None);
                file.truncate(24);
                file.extend(u64::MAX.to_le_bytes());
                file.extend([0; 32]);
                file
            },
            ("BadKey", "key number 0"),
        ),
        case(
            "an array whose bytes wrap around 64 bits",
            "CVE-2024-21825 (Talos, ggml)",
            with_key(b"k", array(12, 1 << 61)),
            ("ValueTooLong", "key k"),
        ),
        case(
            "2^30 elements",
            "ggml-org/llama.cpp#19856",
            with_key(b"k", array(U32, 1 << 30)),
            ("ValueTooLong", "key k"),
        ),
        case(
            "an array longer than the file",
            "ggml-org/ggml#709",
            with_key(b"k", array(STRING, 1 << 20)),
            ("Truncated", "array"),
        ),
        case(
            "a value type that indexes behind a table",
            "ggml-org/ggml#709",
            with_key(b"k", Encoded { value_type: 0x7fff_ffff, bytes: vec![0; 16] }),
            ("UnknownValueType", "key k"),
        ),
        case(
            "an element type that indexes behind a table",
            "ggml-org/ggml#709",
            with_key(b"k", array(13, 1)),
            ("UnknownValueType", "key k"),
        ),
        case(
            "arrays inside arrays",
            "no number: Python reader and candle recurse",
            with_key(b"k", nested),
            ("NestedArray", "key k"),
        ),
        case(
            "an empty key",
            "ggml-org/llama.cpp#24263; ggml-org/whisper.cpp#3864",
            with_key(b"", Encoded::u32(1)),
            ("BadKey", "key number 0"),
        ),
        case(
            "a key with a NUL inside",
            "no number: two readers, two names",
            with_key(b"k\0x", Encoded::u32(1)),
            ("BadKey", "key number 0"),
        ),
        case(
            "a key that occurs twice",
            "no number: candle keeps the last; ggml-org/llama.cpp#19856",
            twice.write(),
            ("DuplicateKey", "key k"),
        ),
        case(
            "a bool that is two",
            "no number: undefined in C",
            with_key(b"k", Encoded { value_type: BOOL, bytes: vec![2] }),
            ("BadBool", "key k"),
        ),
        case(
            "an alignment of zero",
            "CVE-2025-0317 (ollama); candle's div_ceil",
            with_key(b"general.alignment", Encoded::u32(0)),
            ("Alignment", "general.alignment"),
        ),
        case(
            "an alignment that wraps when padded",
            "ggml-org/llama.cpp#24759 (padding that wraps)",
            with_key(b"general.alignment", Encoded::u32(0x8000_0000)),
            ("Alignment", "general.alignment"),
        ),
        case(
            "an alignment of a gigabyte",
            "ggml-org/ggml#1516",
            with_key(b"general.alignment", Encoded::u32(1 << 30)),
            ("Alignment", "general.alignment"),
        ),
        case(
            "an alignment that is no u32",
            "ggml-org/llama.cpp#26318",
            with_key(b"general.alignment", Encoded { value_type: 5, bytes: vec![32, 0, 0, 0] }),
            ("WrongType", "general.alignment"),
        ),
        case(
            "the wrong endian",
            "ggml-org/llama.cpp#3957",
            Description { version: 3u32.swap_bytes(), ..Description::default() }.write(),
            ("WrongEndian", "big-endian"),
        ),
        case(
            "an archive behind the model",
            "Trail of Bits, safetensors audit 2023 (polyglot files)",
            Description { behind: b"PK\x03\x04".repeat(40), ..Description::default() }.write(),
            ("TrailingBytes", "160 bytes"),
        ),
    ]
}
