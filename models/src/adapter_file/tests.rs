//! Round trips, the keys of the format, and every refusal.

use proptest::prelude::*;

use super::*;
use crate::arch::tests::{Changes, NAMES, small};
use crate::gguf::fingerprint;

fn base(name: &str) -> Arch {
    Arch::from_gguf(&Gguf::parse(&small(name, &Changes::default())).unwrap()).unwrap()
}

fn linears() -> Vec<LayerTensor> {
    LayerTensor::ALL.into_iter().filter(|tensor| tensor.is_linear()).collect()
}

fn pair(arch: &Arch, layer: usize, tensor: LayerTensor, rank: usize) -> Pair {
    let (outputs, inputs) = tensor.shape(arch);
    let values = |n: usize| (0..n).map(|i| (i as f32 - 3.0) / 64.0).collect();
    Pair { layer, tensor, rank, a: values(rank * inputs), b: values(outputs * rank) }
}

fn provenance() -> Provenance {
    Provenance {
        base_fingerprint: std::array::from_fn(|i| i as u8),
        template_digest: [0xab; 32],
        parent: Some([0xcd; 32]),
        seed: u64::MAX,
        lineage: vec!["e1".into(), "e22".into()],
    }
}

fn adapter(arch: &Arch) -> AdapterFile {
    let pairs = (0..arch.layers)
        .flat_map(|layer| linears().into_iter().map(move |tensor| (layer, tensor)))
        .map(|(layer, tensor)| pair(arch, layer, tensor, 1 + layer))
        .collect();
    let architecture = arch.name.to_owned();
    AdapterFile { architecture, alpha: 16.0, pairs, provenance: Some(provenance()) }
}

/// Name, block type, dimensions, data.
type Tensor = (String, Quant, Vec<usize>, Vec<u8>);

/// The file of `adapter`, written again with other keys and tensors.
fn rewritten(
    adapter: &AdapterFile,
    keys: &[(&str, Option<Value>)],
    tensors: impl Fn(&TensorInfo, &[u8]) -> Option<Tensor>,
) -> Vec<u8> {
    let file = adapter.to_bytes();
    let gguf = Gguf::parse(&file).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        if !keys.iter().any(|(changed, _)| *changed == key) {
            writer.put(key, value);
        }
    }
    for (key, value) in keys {
        if let Some(value) = value {
            writer.put(key, *value);
        }
    }
    for info in gguf.tensors() {
        if let Some((name, quant, dims, data)) = tensors(info, &file[info.range.clone()]) {
            writer.tensor(&name, quant, &dims, data);
        }
    }
    writer.to_bytes()
}

fn same(info: &TensorInfo, data: &[u8]) -> Option<Tensor> {
    Some((info.name.clone(), info.quant, info.dims.clone(), data.to_vec()))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        name in prop::sample::select(NAMES.to_vec()),
        chosen in prop::collection::btree_set((0..2usize, 0..7usize), 1..14),
        ranks in prop::collection::vec(1..6usize, 14),
        alpha in 0.1f32..100.0,
        parent in any::<bool>(),
        seed in any::<u64>(),
        foreign in any::<bool>(),
    ) {
        let arch = base(name);
        let pairs = chosen
            .into_iter()
            .zip(ranks)
            .map(|((layer, tensor), rank)| pair(&arch, layer, linears()[tensor], rank))
            .collect();
        let mut provenance = provenance();
        provenance.seed = seed;
        provenance.parent = provenance.parent.filter(|_| parent);
        let adapter = AdapterFile {
            architecture: name.to_owned(),
            alpha,
            pairs,
            provenance: (!foreign).then_some(provenance),
        };
        let file = adapter.to_bytes();
        let read = AdapterFile::parse(&file, &arch).unwrap();
        prop_assert_eq!(&read, &adapter);
        prop_assert_eq!(read.to_bytes(), file);
    }

    #[test]
    fn no_mutation_of_an_adapter_panics(
        edits in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4),
    ) {
        let arch = base("qwen3");
        let mut file = adapter(&arch).to_bytes();
        for (at, byte) in edits {
            let at = usize::from(at) % file.len();
            file[at] = byte;
        }
        if let Ok(adapter) = AdapterFile::parse(&file, &arch) {
            prop_assert!(AdapterFile::parse(&adapter.to_bytes(), &arch).is_ok());
        }
    }
}

/// The names that other programs know: the format is theirs.
#[test]
fn the_file_has_the_keys_and_tensors_of_the_format() {
    let arch = base("llama");
    let file = adapter(&arch).to_bytes();
    let gguf = Gguf::parse(&file).unwrap();
    assert_eq!(gguf.str("general.type"), Ok("adapter"));
    assert_eq!(gguf.str("general.architecture"), Ok("llama"));
    assert_eq!(gguf.str("adapter.type"), Ok("lora"));
    assert_eq!(gguf.f32("adapter.lora.alpha"), Ok(16.0));
    let a = gguf.tensor("blk.1.ffn_down.weight.lora_a").unwrap();
    let b = gguf.tensor("blk.1.ffn_down.weight.lora_b").unwrap();
    assert_eq!((&a.dims, &b.dims), (&vec![24, 2], &vec![2, 16]));
    assert_eq!(gguf.tensors().len(), 2 * 2 * 7);
    assert_eq!(gguf.str("sapwood.template_digest"), Ok("ab".repeat(32).as_str()));
}

#[test]
fn adapters_in_f16_and_in_any_order_are_read() {
    let arch = base("gemma3");
    let mut adapter = adapter(&arch);
    adapter.provenance = None;
    // Halves of halves are exact in F16.
    let halved = rewritten(&adapter, &[], |info, data| {
        let values: Vec<f32> =
            data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let mut halves = Vec::new();
        Quant::F16.quantize(&values, &mut halves);
        Some((info.name.clone(), Quant::F16, info.dims.clone(), halves))
    });
    assert_eq!(AdapterFile::parse(&halved, &arch).unwrap(), adapter);

    let mut reversed = adapter.clone();
    reversed.pairs.reverse();
    assert_eq!(AdapterFile::parse(&reversed.to_bytes(), &arch).unwrap(), adapter);
}

#[test]
fn a_wrong_base_is_refused_with_both_fingerprints() {
    let arch = base("qwen2");
    let mut adapter = adapter(&arch);
    let own = provenance().base_fingerprint;
    adapter.check_base(|| own).unwrap();
    let error = adapter.check_base(|| [0xee; 32]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the adapter was trained for base 0001020304050607, the model is eeeeeeeeeeeeeeee: \
         use its own base"
    );
    adapter.provenance = None;
    adapter.check_base(|| unreachable!("nothing to compare with")).unwrap();

    let error = AdapterFile::parse(&adapter.to_bytes(), &base("qwen3")).unwrap_err();
    assert!(matches!(
        error,
        AdapterError::WrongArchitecture { ref found, wanted: "qwen3" } if found == "qwen2"
    ));
}

#[test]
fn bad_keys_are_refused() {
    let arch = base("llama");
    let adapter = adapter(&arch);
    let parse = |key: &str, value: Option<Value>| {
        AdapterFile::parse(&rewritten(&adapter, &[(key, value)], same), &arch)
            .map_err(|error| error.to_string())
    };
    for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let message = parse("adapter.lora.alpha", Some(Value::F32(alpha))).unwrap_err();
        assert!(message.starts_with("adapter.lora.alpha is "), "{message}");
    }
    for key in ["general.type", "adapter.type"] {
        let message = parse(key, Some("model".into())).unwrap_err();
        assert!(message.starts_with(&format!("{key} is model, not ")), "{message}");
    }
    for key in [
        "general.type",
        "general.architecture",
        "adapter.type",
        "adapter.lora.alpha",
        BASE_FINGERPRINT,
        TEMPLATE_DIGEST,
    ] {
        let message = parse(key, None).unwrap_err();
        assert!(message.starts_with(&format!("key {key} is missing")), "{message}");
    }
    let message = parse("adapter.lora.alpha", Some(Value::F64(16.0))).unwrap_err();
    assert!(message.contains("f32 needed"), "{message}");
    for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
        let message = parse(BASE_FINGERPRINT, Some(text.into())).unwrap_err();
        assert!(message.contains("64 hexadecimal"), "{text}: {message}");
    }
    assert!(parse(PARENT, None).unwrap().provenance.unwrap().parent.is_none());
}

#[test]
fn bad_tensors_are_refused() {
    let arch = base("llama");
    let adapter = adapter(&arch);
    let target = "blk.0.attn_q.weight";
    let with = |suffix: &'static str, change: fn(&mut Tensor)| {
        let file = rewritten(&adapter, &[], |info, data| {
            let mut tensor = same(info, data).unwrap();
            if info.name == format!("{target}{suffix}") {
                change(&mut tensor);
            }
            (!tensor.0.is_empty()).then_some(tensor)
        });
        AdapterFile::parse(&file, &arch).unwrap_err()
    };

    let half = with(".lora_b", |tensor| tensor.0.clear());
    assert!(matches!(half, AdapterError::HalfPair { missing: ".lora_b", .. }), "{half}");
    let half = with(".lora_a", |tensor| tensor.0.clear());
    assert!(matches!(half, AdapterError::HalfPair { missing: ".lora_a", .. }), "{half}");

    for name in [
        "token_embd.weight.lora_a",
        "blk.0.attn_norm.weight.lora_a",
        "blk.0.attn_q.bias.lora_a",
        "blk.2.attn_q.weight.lora_a",
        "blk.-1.attn_q.weight.lora_a",
        "blk.00.attn_q.weight.lora_a",
        "blk.0.attn_q.weight",
        "blk.0.attn_q.weight.lora_c",
        "output.weight.lora_a",
        ".lora_a",
    ] {
        let file = rewritten(&adapter, &[], |info, data| {
            let (own, quant, dims, data) = same(info, data)?;
            let first = own == format!("{target}.lora_a");
            Some((if first { name.to_owned() } else { own }, quant, dims, data))
        });
        match AdapterFile::parse(&file, &arch).unwrap_err() {
            AdapterError::NotAdaptable { tensor } => assert_eq!(tensor, name),
            // The half that stayed may come first.
            AdapterError::HalfPair { tensor, .. } => assert!(tensor.starts_with(target)),
            other => panic!("{name}: {other}"),
        }
    }

    let wide = with(".lora_a", |(_, _, dims, data)| {
        *dims = vec![17, 1];
        data.resize(4 * 17, 0);
    });
    assert!(matches!(wide, AdapterError::Shape { .. }), "{wide}");
    let ranks_differ = with(".lora_b", |(_, _, dims, data)| {
        *dims = vec![2, 32];
        data.resize(4 * 64, 0);
    });
    assert!(matches!(ranks_differ, AdapterError::Shape { .. }), "{ranks_differ}");
    let rank = with(".lora_a", |(_, _, dims, data)| {
        *dims = vec![16, 257];
        data.resize(4 * 16 * 257, 0);
    });
    assert!(rank.to_string().contains("1 to 256"), "{rank}");
    let bf16 = with(".lora_a", |(_, quant, _, data)| {
        *quant = Quant::BF16;
        data.truncate(32);
    });
    assert!(matches!(bf16, AdapterError::BlockType { found: "BF16", .. }), "{bf16}");
}

#[test]
fn values_that_are_no_weights_are_refused() {
    let arch = base("llama");
    let adapter = adapter(&arch);
    for bits in [0x7fc0_0000u32, 0x7f80_0000, 0xff80_0000, 10_001f32.to_bits()] {
        let file = rewritten(&adapter, &[], |info, data| {
            let mut tensor = same(info, data)?;
            if info.name == "blk.0.attn_q.weight.lora_b" {
                tensor.3[..4].copy_from_slice(&bits.to_le_bytes());
            }
            Some(tensor)
        });
        let error = AdapterFile::parse(&file, &arch).unwrap_err();
        assert!(matches!(error, AdapterError::BadValue { .. }), "{error}");
    }
}

#[test]
fn files_that_are_no_adapter_are_refused() {
    let arch = base("llama");
    let adapter = adapter(&arch);
    let empty = AdapterFile { pairs: Vec::new(), ..adapter.clone() };
    let error = AdapterFile::parse(&empty.to_bytes(), &arch).unwrap_err();
    assert!(matches!(error, AdapterError::Empty), "{error}");

    let mut trailing = adapter.to_bytes();
    trailing.push(0);
    let error = AdapterFile::parse(&trailing, &arch).unwrap_err();
    assert!(matches!(error, AdapterError::TrailingBytes { found: 1 }), "{error}");
    let error = AdapterFile::parse(&small("llama", &Changes::default()), &arch).unwrap_err();
    assert!(matches!(error, AdapterError::Gguf(_)), "{error}");
}

#[test]
fn the_fingerprint_is_of_what_the_model_computes() {
    let print = |changes: &Changes| {
        let file = small("llama", changes);
        fingerprint(&Gguf::parse(&file).unwrap(), &file)
    };
    let plain = print(&Changes::default());
    assert_eq!(plain, print(&Changes::default()));
    for set in [
        ("general.name", "renamed".into()),
        ("general.alignment", 64u32.into()),
        ("other.key", true.into()),
    ] {
        assert_eq!(plain, print(&Changes { set: vec![set], ..Changes::default() }), "{set:?}");
    }
    for set in [
        (".rope.freq_base", 5e5f32.into()),
        (".context_length", 65u32.into()),
        ("tokenizer.chat_template", "{{ messages }}".into()),
        ("tokenizer.ggml.eos_token_id", 3u32.into()),
    ] {
        assert_ne!(plain, print(&Changes { set: vec![set], ..Changes::default() }), "{set:?}");
    }
    let file = small("llama", &Changes::default());
    let gguf = Gguf::parse(&file).unwrap();
    for tensor in gguf.tensors() {
        let mut changed = file.clone();
        changed[tensor.range.end - 1] ^= 1;
        assert_ne!(plain, fingerprint(&gguf, &changed), "{}", tensor.name);
    }
}
