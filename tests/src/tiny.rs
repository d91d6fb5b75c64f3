//! A model so small that a process which holds it is up in milliseconds: one layer, random weights,
//! a vocabulary of bytes. What it says means nothing, but depends on the adapter.

use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Device, Quant};
use sapwood_models::{GgufWriter, LoraConfig, Mapped, Model, Provenance, Target};

/// Channels of the model that is used where any will do.
pub const WIDTH: usize = 32;
const HEADS: usize = 2;
const HEAD: usize = 16;
const FORWARD: usize = 48;

fn bytes(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// The model with so many channels: each width is another base model.
///
/// # Panics
/// If the model that is made here can't be read.
pub fn model(width: usize) -> Model {
    let mut writer = GgufWriter::new();
    let mut tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.resize(tokens.len(), 6);
    writer.put("general.architecture", "qwen3");
    let counts = [
        ("context_length", 1024),
        ("embedding_length", width),
        ("block_count", 1),
        ("feed_forward_length", FORWARD),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", HEADS),
        ("attention.key_length", HEAD),
        ("attention.value_length", HEAD),
    ];
    for (name, value) in counts {
        writer.put(&format!("qwen3.{name}"), value as u32);
    }
    writer.put("qwen3.attention.layer_norm_rms_epsilon", 1e-6_f32);
    writer.put("qwen3.rope.freq_base", 10_000.0_f32);
    writer.put("tokenizer.ggml.model", "llama");
    writer.put_strings("tokenizer.ggml.tokens", &tokens);
    writer.put_f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
    writer.put_i32s("tokenizer.ggml.token_type", &kinds);
    let template = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
    writer.put("tokenizer.chat_template", template);
    let mut random = SplitMix64(1);
    let mut matrix = |name: &str, rows: usize, columns: usize| {
        let scale = 2.0 / (columns as f32).sqrt();
        let data = bytes((0..rows * columns).map(|_| scale * random.signed()));
        writer.tensor(&format!("{name}.weight"), Quant::F32, &[columns, rows], data);
    };
    matrix("token_embd", tokens.len(), width);
    for (name, rows, columns) in [
        ("attn_q", HEADS * HEAD, width),
        ("attn_k", HEADS * HEAD, width),
        ("attn_v", HEADS * HEAD, width),
        ("attn_output", width, HEADS * HEAD),
        ("ffn_gate", FORWARD, width),
        ("ffn_up", FORWARD, width),
        ("ffn_down", width, FORWARD),
    ] {
        matrix(&format!("blk.0.{name}"), rows, columns);
    }
    for (name, length) in [
        ("output_norm", width),
        ("blk.0.attn_norm", width),
        ("blk.0.ffn_norm", width),
        ("blk.0.attn_q_norm", HEAD),
        ("blk.0.attn_k_norm", HEAD),
    ] {
        let data = bytes((0..length).map(|_| 1.0));
        writer.tensor(&format!("{name}.weight"), Quant::F32, &[length], data);
    }
    let mapped = Mapped::from_vec(writer.to_bytes());
    Model::from_mapped(mapped, &Device::cpu(Some(1))).expect("a model that was just made")
}

/// The file of an adapter with random values that says it learned from these replies.
///
/// # Panics
/// If the model has no template, as the one above has.
pub fn adapter(model: &Model, seed: u64, lineage: &[u128]) -> Vec<u8> {
    let lora = LoraConfig { rank: 1, alpha: 4.0, targets: vec![Target::O, Target::Down] };
    let mut random = SplitMix64(seed);
    let length = model.new_adapter(&lora, seed).values().len();
    let values: Vec<f32> = (0..length).map(|_| random.signed()).collect();
    let provenance = Provenance {
        base_fingerprint: model.fingerprint(),
        template_digest: model.template().expect("it was made with one").digest(),
        parent: None,
        seed,
        lineage: lineage.iter().map(|id| format!("{id:032x}")).collect(),
    };
    model.adapter_file(&model.adapter(&lora, &values), Some(provenance)).to_bytes()
}
