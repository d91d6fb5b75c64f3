//! Attacks with the table of tensors.

use super::file::{Description, Tensor};
use super::{Case, case};

/// A file with one tensor `t` that claims this much.
fn with_tensor(dims: &[u64], ggml_type: u32, bytes: usize) -> Vec<u8> {
    let mut file = Description::default();
    let (name, dims, data) = (b"t".to_vec(), dims.to_vec(), vec![0; bytes]);
    file.tensors.push(Tensor { name, dims, ggml_type, offset: None, data });
    file.write()
}

/// Two tensors of 32 bytes, the second of which claims to be here.
fn second_at(offset: u64) -> Vec<u8> {
    let mut file = Description::default();
    file.floats("u", &[8]);
    file.floats("t", &[8]);
    file.tensors[1].offset = Some(offset);
    file.write()
}

pub fn cases() -> Vec<Case> {
    let mut same = Description::default();
    same.floats("t", &[8]);
    same.floats("t", &[8]);
    let mut long = Description::default();
    long.floats(&"n".repeat(64), &[8]);
    let accumulated = {
        // Each fits 64 bits, all together do not.
        let mut file = Description::default();
        file.floats("t", &[8]);
        file.tensors[0].dims = vec![1 << 31, 1 << 9];
        file.floats("u", &[8]);
        file.tensors[1].dims = vec![1 << 31, 1 << 9];
        file.write()
    };
    let mut first = Description::default();
    first.floats("t", &[8]);
    first.tensors[0].offset = Some(1 << 40);
    vec![
        case(
            "five dimensions in a table of four",
            "CVE-2024-21802 (Talos, ggml); ggml-org/ggml#709",
            with_tensor(&[1; 5], 0, 32),
            ("DimensionCount", "tensor t"),
        ),
        case(
            "2^32-1 dimensions",
            "no number: Python reader's loop",
            {
                let mut file = with_tensor(&[8], 0, 32);
                file[33..37].fill(0xff);
                file
            },
            ("DimensionCount", "tensor t"),
        ),
        case(
            "columns that wrap when multiplied by the size of a block",
            "ggml-org/llama.cpp#27200; CVE-2026-33298 (GHSA-96jg-mvhq-q7q7)",
            with_tensor(&[5_124_095_576_030_431_008], 2, 32),
            ("Dimension", "tensor t"),
        ),
        case(
            "a size that wraps when padded",
            "ggml-org/llama.cpp#24759",
            with_tensor(&[u64::MAX / 4], 0, 32),
            ("Dimension", "tensor t"),
        ),
        case(
            "a dimension of zero: INT64_MAX / 0",
            "ggml-org/llama.cpp#18586, #24263; ggml-org/whisper.cpp#3864",
            with_tensor(&[1, 0], 0, 32),
            ("Dimension", "dimension 1"),
        ),
        case(
            "a negative dimension",
            "ggml-org/ggml#709",
            with_tensor(&[u64::MAX], 0, 32),
            ("Dimension", "dimension 0"),
        ),
        case(
            "a dimension of 2^42+1, whose stride wraps",
            "ggml-org/llama.cpp#18674",
            with_tensor(&[1152, (1 << 42) + 1], 0, 32),
            ("Dimension", "dimension 1"),
        ),
        case(
            "2^32 times 2^32: nothing, in 64 bits",
            "no number: the guard uses the product that it guards",
            with_tensor(&[1 << 32, 1 << 32], 0, 32),
            ("Dimension", "dimension 0"),
        ),
        case(
            "2^31 times 2^31 times 4: nothing, in 64 bits",
            "no number: candle's elem_count, numpy's prod",
            with_tensor(&[1 << 31, 1 << 31, 4], 0, 32),
            ("TooManyElements", "tensor t"),
        ),
        case(
            "dimensions that 32 bits cut to something small",
            "CVE-2026-53923 (vLLM)",
            with_tensor(&[(1 << 32) + 8], 0, 32),
            ("Dimension", "dimension 0"),
        ),
        case(
            "sizes that wrap when they are added up",
            "CVE-2025-53630 (ggml-org/llama.cpp#14595)",
            accumulated,
            ("TensorBeyondFile", "tensor t"),
        ),
        case(
            "more overhead than 64 bits count",
            "CVE-2026-27940 (llama.cpp)",
            Description { tensor_count: Some(u64::MAX / 368), ..Description::default() }.write(),
            ("Limit", "number of tensors"),
        ),
        case(
            "data behind the end of the file",
            "CVE-2026-7482 (ollama, \"Bleeding Llama\")",
            with_tensor(&[1 << 20], 0, 32),
            ("TensorBeyondFile", "tensor t"),
        ),
        case(
            "an offset far behind the file",
            "CVE-2024-12055 (ollama)",
            first.write(),
            ("Offset", "tensor t"),
        ),
        case(
            "an offset that wraps with its size",
            "ggml-org/ggml#709",
            second_at(u64::MAX - 31),
            ("Offset", "tensor t"),
        ),
        case(
            "two tensors on the same bytes",
            "safetensors: overlapping offsets",
            second_at(0),
            ("Offset", "tensor t"),
        ),
        case(
            "a hole between two tensors",
            "safetensors: holes hide polyglot files",
            second_at(96),
            ("Offset", "tensor t"),
        ),
        case(
            "an offset that is not aligned",
            "ggml-org/ggml#709",
            second_at(33),
            ("Offset", "tensor t"),
        ),
        case(
            "two tensors of one name",
            "no number: candle keeps the last",
            same.write(),
            ("DuplicateTensor", "tensor t"),
        ),
        case(
            "a name of 64 bytes, without room for its NUL",
            "ggml-org/llama.cpp: GGML_MAX_NAME",
            long.write(),
            ("BadTensorName", "tensor number 0"),
        ),
        case(
            "a block type that was removed: blocks of no bytes",
            "no number: division by the size of a block",
            with_tensor(&[256], 4, 256),
            ("UnknownBlockType", "tensor t"),
        ),
        case(
            "a negative block type",
            "ggml-org/llama.cpp#19856",
            with_tensor(&[256], u32::MAX, 256),
            ("UnknownBlockType", "tensor t"),
        ),
        case(
            "a row that ends inside a block",
            "ggml-org/ggml#709",
            with_tensor(&[48], 2, 64),
            ("PartialBlock", "tensor t"),
        ),
    ]
}
