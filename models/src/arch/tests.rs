//! Small models of every architecture, and what is wrong with broken ones.

use super::*;
use crate::Mapped;
use crate::gguf::tests::shared_files;
use crate::gguf::{GgufError, GgufWriter, Value};
use sapwood_kernels::quant::Quant;

/// What to write differently from a proper small model.
#[derive(Clone, Default)]
pub(crate) struct Changes<'a> {
    /// Replaces (or adds) keys, named without the architecture's prefix if they start with a dot.
    pub set: Vec<(&'a str, Value<'a>)>,
    /// Leaves out keys.
    pub unset: Vec<&'a str>,
    /// Leaves out tensors.
    pub without: Vec<&'a str>,
    /// Adds (or replaces) tensors of F32.
    pub with: Vec<(&'a str, Vec<usize>)>,
}

pub(crate) const NAMES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// A model of two layers, C = 16, 4 heads of 8 columns on 2 key heads, F = 24, V = 12.
pub(crate) fn small(name: &str, changes: &Changes) -> Vec<u8> {
    let key = |key: &str| match key.strip_prefix('.') {
        Some(rest) => format!("{name}.{rest}"),
        None => key.to_owned(),
    };
    let mut keys: Vec<(String, Value)> = vec![
        ("general.architecture".into(), name.into()),
        (key(".block_count"), 2u32.into()),
        (key(".embedding_length"), 16u32.into()),
        (key(".feed_forward_length"), 24u32.into()),
        (key(".attention.head_count"), 4u32.into()),
        (key(".attention.head_count_kv"), 2u32.into()),
        (key(".attention.key_length"), 8u32.into()),
        (key(".attention.layer_norm_rms_epsilon"), 1e-5f32.into()),
        (key(".context_length"), 64u32.into()),
        (key(".rope.freq_base"), 1e6f32.into()),
    ];
    if name == "gemma3" {
        keys.push((key(".attention.sliding_window"), 5u32.into()));
    }
    for (changed, value) in &changes.set {
        keys.retain(|(k, _)| *k != key(changed));
        keys.push((key(changed), *value));
    }
    keys.retain(|(k, _)| !changes.unset.iter().any(|unset| key(unset) == *k));

    let mut tensors: Vec<(String, Vec<usize>)> =
        vec![("token_embd.weight".into(), vec![16, 12]), ("output_norm.weight".into(), vec![16])];
    for layer in 0..2 {
        let parts = layer_tensors(name).into_iter();
        tensors.extend(parts.map(|(part, dims)| (format!("blk.{layer}.{part}"), dims)));
    }
    for (name, dims) in &changes.with {
        tensors.retain(|(n, _)| n != name);
        tensors.push((name.to_string(), dims.clone()));
    }
    tensors.retain(|(n, _)| !changes.without.contains(&n.as_str()));

    let mut writer = GgufWriter::new();
    for (key, value) in keys {
        writer.put(&key, value);
    }
    for (index, (name, dims)) in tensors.iter().enumerate() {
        let count: usize = dims.iter().product();
        let values = (0..count).map(|i| (i * 7 + index) as f32 / 100.0);
        let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        writer.tensor(name, Quant::F32, dims, data);
    }
    writer.to_bytes()
}

fn layer_tensors(name: &str) -> Vec<(&'static str, Vec<usize>)> {
    let mut parts = vec![
        ("attn_norm.weight", vec![16]),
        ("attn_q.weight", vec![16, 32]),
        ("attn_k.weight", vec![16, 16]),
        ("attn_v.weight", vec![16, 16]),
        ("attn_output.weight", vec![32, 16]),
        ("ffn_norm.weight", vec![16]),
        ("ffn_gate.weight", vec![16, 24]),
        ("ffn_up.weight", vec![16, 24]),
        ("ffn_down.weight", vec![24, 16]),
    ];
    match name {
        "qwen2" => parts.extend([
            ("attn_q.bias", vec![32]),
            ("attn_k.bias", vec![16]),
            ("attn_v.bias", vec![16]),
        ]),
        "qwen3" | "gemma3" => {
            parts.extend([("attn_q_norm.weight", vec![8]), ("attn_k_norm.weight", vec![8])])
        }
        _ => {}
    }
    if name == "gemma3" {
        parts
            .extend([("post_attention_norm.weight", vec![16]), ("post_ffw_norm.weight", vec![16])]);
    }
    parts
}

fn arch(name: &str, changes: &Changes) -> Result<Arch, ArchError> {
    Arch::from_gguf(&Gguf::parse(&small(name, changes)).unwrap())
}

#[test]
fn each_architecture_has_its_features() {
    let llama = arch("llama", &Changes::default()).unwrap();
    assert_eq!((llama.layers, llama.width, llama.heads, llama.kv_heads), (2, 16, 4, 2));
    assert_eq!((llama.head_dim, llama.ff, llama.vocab, llama.context), (8, 24, 12, 64));
    assert_eq!((llama.q_width(), llama.kv_width()), (32, 16));
    assert_eq!(llama.attention_scale, 1.0 / 8f32.sqrt());
    assert_eq!(llama.rope.style, RopeStyle::Interleaved);
    assert!(llama.tied_head && !llama.rope.factors && !llama.qkv_bias && !llama.qk_norm);
    assert_eq!(llama.layer_tensors().count(), 9);
    assert_eq!(llama.tensors().count(), 2 + 2 * 9);

    let qwen2 = arch("qwen2", &Changes::default()).unwrap();
    assert!(qwen2.qkv_bias && !qwen2.qk_norm);
    assert_eq!(qwen2.rope.style, RopeStyle::HalfSplit);

    let qwen3 = arch("qwen3", &Changes::default()).unwrap();
    assert!(qwen3.qk_norm && !qwen3.qkv_bias && !qwen3.post_norms);
    assert_eq!((qwen3.embed_scale, qwen3.activation), (1.0, Activation::Silu));

    let gemma3 = arch("gemma3", &Changes::default()).unwrap();
    assert!(gemma3.qk_norm && gemma3.post_norms);
    assert_eq!((gemma3.embed_scale, gemma3.activation), (4.0, Activation::GeluTanh));
    assert_eq!(gemma3.sliding, Some(Sliding { window: 5, period: 6 }));
    assert_eq!((gemma3.rope.base, gemma3.rope.local_base), (1e6, Some(1e4)));
    assert_eq!(gemma3.layer_tensors().count(), 13);
}

#[test]
fn every_sixth_layer_of_gemma3_is_global() {
    let mut gemma3 = arch("gemma3", &Changes::default()).unwrap();
    gemma3.layers = 26;
    let global: Vec<usize> = (0..26).filter(|&layer| !gemma3.is_sliding(layer)).collect();
    assert_eq!(global, [5, 11, 17, 23]);
}

#[test]
fn optional_keys_and_tensors_are_honoured() {
    let with = vec![
        ("rope_freqs.weight", vec![4]),
        ("output.weight", vec![16, 12]),
        ("blk.0.attn_q.bias", vec![32]),
        ("blk.0.attn_k.bias", vec![16]),
        ("blk.0.attn_v.bias", vec![16]),
        ("blk.1.attn_q.bias", vec![32]),
        ("blk.1.attn_k.bias", vec![16]),
        ("blk.1.attn_v.bias", vec![16, 1]),
        ("not_of_this_model", vec![3]),
    ];
    let set = vec![(".rope.scaling.type", "linear".into()), (".rope.scaling.factor", 8f32.into())];
    let llama = arch("llama", &Changes { with, set, ..Changes::default() }).unwrap();
    assert!(llama.rope.factors && !llama.tied_head && llama.qkv_bias);
    assert_eq!((llama.rope.linear_scale, llama.unused_tensors), (8.0, 1));

    let unset = vec![".attention.head_count_kv", ".rope.freq_base", ".attention.key_length"];
    let set = vec![(".embedding_length", 16u32.into())];
    let with = (0..2)
        .flat_map(|i| ["q", "k", "v", "output"].map(|t| format!("blk.{i}.attn_{t}.weight")))
        .collect::<Vec<_>>();
    let with = with.iter().map(|name| (name.as_str(), vec![16, 16])).collect();
    let plain = arch("llama", &Changes { unset, set, with, ..Changes::default() }).unwrap();
    assert_eq!((plain.kv_heads, plain.head_dim, plain.rope.base), (4, 4, 10_000.0));

    let set = vec![(".rope.scaling.type", "none".into()), (".rope.scaling.factor", 8f32.into())];
    let none = arch("qwen3", &Changes { set, ..Changes::default() }).unwrap();
    assert_eq!(none.rope.linear_scale, 1.0);

    let set = vec![
        (".attention.sliding_window_pattern", 2u32.into()),
        (".rope.freq_base_swa", 500f32.into()),
    ];
    let gemma3 = arch("gemma3", &Changes { set, ..Changes::default() }).unwrap();
    assert_eq!(gemma3.sliding, Some(Sliding { window: 5, period: 2 }));
    assert_eq!(gemma3.rope.local_base, Some(500.0));
}

/// Sixty-two layers are the 27B model, whose queries are scaled by C / H.
#[test]
fn the_largest_gemma3_scales_by_the_width_per_head() {
    let layers: Vec<String> = (2..62)
        .flat_map(|layer| {
            LayerTensor::ALL
                .into_iter()
                .filter(|t| !t.name().ends_with("bias"))
                .map(move |t| t.full_name(layer))
        })
        .collect();
    let small = arch("gemma3", &Changes::default()).unwrap();
    let with = layers
        .iter()
        .map(|name| {
            let (rows, cols) = LayerTensor::parse(name).unwrap().1.shape(&small);
            (name.as_str(), if rows == 1 { vec![cols] } else { vec![cols, rows] })
        })
        .collect();
    let set = vec![(".block_count", 62u32.into())];
    let large = arch("gemma3", &Changes { with, set, ..Changes::default() }).unwrap();
    assert_eq!(large.attention_scale, 0.5);
    assert_eq!(small.attention_scale, 1.0 / 8f32.sqrt());
}

fn refused<'a>(name: &str, key: &'a str, value: impl Into<Value<'a>>) -> String {
    let set = vec![(key, value.into())];
    arch(name, &Changes { set, ..Changes::default() }).unwrap_err().to_string()
}

#[test]
fn numbers_out_of_range_are_refused_by_key() {
    for (key, value) in [
        (".block_count", 0),
        (".block_count", 513),
        (".embedding_length", 0),
        (".embedding_length", 65_537),
        (".feed_forward_length", 0),
        (".feed_forward_length", (1 << 20) + 1),
        (".attention.head_count", 0),
        (".attention.head_count", 1025),
        (".attention.head_count_kv", 0),
        (".attention.head_count_kv", 5),
        (".attention.key_length", 0),
        (".attention.key_length", 1026),
        (".context_length", 0),
        (".rope.dimension_count", 0),
        (".rope.dimension_count", 10),
    ] {
        let message = refused("llama", key, value as u32);
        assert!(message.starts_with(&format!("llama{key} is {value}, not ")), "{message}");
    }
    for (key, value) in [
        (".attention.layer_norm_rms_epsilon", 0.0),
        (".attention.layer_norm_rms_epsilon", 0.1),
        (".attention.layer_norm_rms_epsilon", f32::NAN),
        (".rope.freq_base", 0.0),
        (".rope.freq_base", f32::INFINITY),
        (".rope.scaling.factor", -1.0),
    ] {
        let message = refused("qwen3", key, value);
        assert!(message.starts_with(&format!("qwen3{key} is {value}, but ")), "{message}");
    }
}

#[test]
fn what_we_do_not_compute_is_refused_by_name() {
    for (name, key, value, word) in [
        ("llama", ".expert_count", Value::U32(8), "mixture of experts"),
        ("llama", ".rope.scaling.type", Value::Str("yarn"), "yarn"),
        ("llama", ".rope.scaling.type", Value::Str("longrope"), "longrope"),
        ("llama", ".attention.value_length", Value::U32(4), "another width"),
        ("gemma3", ".final_logit_softcapping", Value::F32(30.0), "soft-capped"),
        ("llama", "general.architecture", Value::Str("mamba"), "llama qwen2 qwen3 gemma3"),
        ("llama", "general.type", Value::Str("adapter"), "type adapter"),
    ] {
        let message = refused(name, key, value);
        assert!(message.contains(word), "{message}");
    }
    assert!(refused("llama", ".attention.head_count_kv", 3u32).contains("multiple"));
    assert!(refused("llama", ".attention.key_length", 7u32).contains("multiple"));
    assert!(refused("llama", ".rope.dimension_count", 3u32).contains("multiple"));
    let wrong = refused("llama", ".block_count", Value::U64(2));
    assert_eq!(wrong, "key llama.block_count has type u64, u32 needed: convert the model again");
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "general.architecture",
        ".block_count",
        ".embedding_length",
        ".feed_forward_length",
        ".attention.head_count",
        ".attention.layer_norm_rms_epsilon",
        ".context_length",
        ".rope.freq_base",
    ] {
        let error = arch("gemma3", &Changes { unset: vec![key], ..Changes::default() });
        let key = if key.starts_with('.') { format!("gemma3{key}") } else { key.to_owned() };
        assert_eq!(error, Err(ArchError::Gguf(GgufError::MissingKey { key })));
    }
}

#[test]
fn tensors_are_complete_exact_and_all_used() {
    for name in NAMES {
        let gguf = Gguf::parse(&small(name, &Changes::default())).unwrap();
        for tensor in gguf.tensors() {
            let without = vec![tensor.name.as_str()];
            let error = arch(name, &Changes { without, ..Changes::default() }).unwrap_err();
            let missing = ArchError::MissingTensor { tensor: tensor.name.clone() };
            assert_eq!(error, missing, "{name}");

            let mut dims = tensor.dims.clone();
            dims[0] += 2;
            let with = vec![(tensor.name.as_str(), dims)];
            match arch(name, &Changes { with, ..Changes::default() }).unwrap_err() {
                ArchError::TensorShape { tensor: found, .. } => assert_eq!(found, tensor.name),
                other => panic!("{name} {}: {other}", tensor.name),
            }
        }
    }
    for extra in ["blk.0.ffn_up.bias", "blk.2.attn_q.weight", "blk.00.attn_q.weight", "output.bias"]
    {
        let with = vec![(extra, vec![16])];
        let error = arch("qwen3", &Changes { with, ..Changes::default() }).unwrap_err();
        assert!(matches!(error, ArchError::UnsupportedTensor { tensor, .. } if tensor == extra));
    }
}

#[test]
fn as_many_tokens_as_rows() {
    let mut tokens = GgufWriter::new();
    tokens.put_strings("tokenizer.ggml.tokens", &["a"; 11]);
    let tokens = Gguf::parse(&tokens.to_bytes()).unwrap();
    let set = vec![("tokenizer.ggml.tokens", tokens.value("tokenizer.ggml.tokens").unwrap())];
    let error = arch("llama", &Changes { set, ..Changes::default() });
    assert_eq!(error, Err(ArchError::Vocabulary { tokens: 11, rows: 12 }));
}

#[test]
fn real_models_have_valid_architectures() {
    for path in shared_files("models", "gguf") {
        let file = Mapped::open(&path).unwrap();
        let gguf = Gguf::parse(file.bytes()).unwrap();
        let arch = Arch::from_gguf(&gguf).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(arch.name, "llama", "{}", path.display());
        assert_eq!(arch.unused_tensors, 0, "{}", path.display());
        assert_eq!(arch.tensors().count(), gguf.tensors().len());
    }
    for path in shared_files("vocab", "gguf") {
        let file = Mapped::open(&path).unwrap();
        let error = Arch::from_gguf(&Gguf::parse(file.bytes()).unwrap()).unwrap_err();
        eprintln!("{}: {error}", path.display());
    }
}
