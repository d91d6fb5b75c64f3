//! Attacks with adapters.

use super::file::{Description, Encoded, F32};
use super::{Case, case};

/// A proper adapter for the small model.
pub fn adapter() -> Description {
    let mut file = Description::default();
    file.set("general.type", Encoded::text(b"adapter"));
    file.set("general.architecture", Encoded::text(b"llama"));
    file.set("adapter.type", Encoded::text(b"lora"));
    file.set("adapter.lora.alpha", Encoded::f32(16.0));
    file.floats("blk.0.attn_q.weight.lora_a", &[16, 2]);
    file.floats("blk.0.attn_q.weight.lora_b", &[2, 16]);
    file
}

pub fn cases() -> Vec<Case> {
    let with = |key: &str, value: Encoded| {
        let mut file = adapter();
        file.set(key, value);
        file.write()
    };
    let edited = |edit: &dyn Fn(&mut Description)| {
        let mut file = adapter();
        edit(&mut file);
        file.write()
    };
    let infinite = |file: &mut Description| {
        file.tensors[0].data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    };
    vec![
        case(
            "an adapter of another kind",
            "no number: llama.cpp checks the name alone",
            with("adapter.type", Encoded::text(b"control-vector")),
            ("NotLora", "adapter.type"),
        ),
        case(
            "an adapter for another architecture",
            "no number: shapes that happen to fit",
            with("general.architecture", Encoded::text(b"qwen2")),
            ("WrongArchitecture", "qwen2"),
        ),
        case(
            "half a pair",
            "ggml-org/llama.cpp#8332",
            edited(&|file| drop(file.tensors.pop())),
            ("HalfPair", "lora_a"),
        ),
        case(
            "a pair on what is no linear",
            "no number: norms and embeddings",
            edited(&|file| {
                file.tensors.iter_mut().for_each(|tensor| {
                    let name = String::from_utf8_lossy(&tensor.name).replace("attn_q", "attn_norm");
                    tensor.name = name.into_bytes();
                })
            }),
            ("NotAdaptable", "attn_norm"),
        ),
        case(
            "a layer that the base does not have",
            "no number: index behind the layers",
            edited(&|file| {
                file.tensors.iter_mut().for_each(|tensor| {
                    let name = String::from_utf8_lossy(&tensor.name).replace("blk.0", "blk.7");
                    tensor.name = name.into_bytes();
                })
            }),
            ("NotAdaptable", "blk.7"),
        ),
        case(
            "ranks that differ within a pair",
            "no number: multiplication of what does not fit",
            edited(&|file| file.tensors[1].dims = vec![4, 8]),
            ("Shape", "lora_b"),
        ),
        case(
            "a rank of 512",
            "no number: memory",
            edited(&|file| {
                file.tensors.clear();
                file.floats("blk.0.attn_q.weight.lora_a", &[16, 512]);
                file.floats("blk.0.attn_q.weight.lora_b", &[512, 16]);
            }),
            ("Shape", "lora_a"),
        ),
        case(
            "an alpha that is no number",
            "no number: NaN in every activation",
            with(
                "adapter.lora.alpha",
                Encoded { value_type: F32, bytes: f32::NAN.to_le_bytes().to_vec() },
            ),
            ("BadAlpha", "adapter.lora.alpha"),
        ),
        case(
            "a value that is infinite",
            "no number: NaN in every activation",
            edited(&infinite),
            ("BadValue", "lora_a"),
        ),
        case(
            "values in blocks",
            "no number: scales that nobody checks",
            edited(&|file| {
                file.tensors[0].ggml_type = 8;
                file.tensors[0].dims = vec![32, 1];
                file.tensors[0].data = vec![0; 34];
            }),
            ("Shape", "lora_a"),
        ),
        case(
            "bytes behind an adapter",
            "Trail of Bits, safetensors audit 2023 (polyglot files)",
            edited(&|file| file.behind = vec![1]),
            ("TrailingBytes", "1 bytes"),
        ),
    ]
}
