//! Random models of any shape as GGUF files, written by our own writer.
//!
//! Matrices are gaussian with variance 1/fan-in, the two that write the residual stream smaller by
//! sqrt(2 * layers): activations keep their size through any depth, as in a trained model.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sapwood_kernels::Quant;
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{Gguf, GgufWriter};

/// Hyper-parameters of a random model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// llama.cpp's name of the architecture.
    pub arch: &'static str,
    /// Width of the model.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub ff: usize,
    /// Base of the rotary frequencies.
    pub theta: f32,
    /// Llama 3's frequency factors.
    pub factors: bool,
    /// A head that is not the embedding.
    pub head: bool,
    /// gemma3: tokens of the sliding window.
    pub window: usize,
}

impl Shape {
    /// One small shape of each architecture whose rows fit every block type (256), with fewer
    /// key-value heads than heads, and a window shorter than a prompt of 64. gemma3 needs six
    /// layers: the sixth is its first without the window.
    pub const SMALL: [(&'static str, Shape); 5] = {
        let small = Shape {
            arch: "llama",
            width: 256,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            ff: 512,
            theta: 10_000.0,
            factors: false,
            head: false,
            window: 0,
        };
        [
            ("llama", small),
            ("llama3", Shape { theta: 500_000.0, factors: true, head: true, ..small }),
            ("qwen2", Shape { arch: "qwen2", theta: 1e6, ..small }),
            ("qwen3", Shape { arch: "qwen3", theta: 1e6, heads: 2, head_dim: 128, ..small }),
            ("gemma3", Shape { arch: "gemma3", theta: 1e6, layers: 6, window: 32, ..small }),
        ]
    };

    /// The well-known shapes below 1.3 billion parameters, each with the number of its tokens.
    pub const REAL: [(&'static str, usize, Shape); 5] = [
        ("SmolLM2-135M", 49_152, real("llama", [576, 30, 9, 3, 64, 1536], 1e5, 0)),
        ("Qwen2.5-0.5B", 151_936, real("qwen2", [896, 24, 14, 2, 64, 4864], 1e6, 0)),
        ("Qwen3-0.6B", 151_936, real("qwen3", [1024, 28, 16, 8, 128, 3072], 1e6, 0)),
        ("Gemma-3-270M", 262_144, real("gemma3", [640, 18, 4, 1, 256, 2048], 1e6, 512)),
        (
            "Llama-3.2-1B",
            128_256,
            Shape { factors: true, ..real("llama", [2048, 16, 32, 8, 64, 8192], 5e5, 0) },
        ),
    ];
}

/// Width, layers, heads, key-value heads, head width, feed-forward width.
const fn real(arch: &'static str, dims: [usize; 6], theta: f32, window: usize) -> Shape {
    let [width, layers, heads, kv_heads, head_dim, ff] = dims;
    Shape {
        arch,
        width,
        layers,
        heads,
        kv_heads,
        head_dim,
        ff,
        theta,
        factors: false,
        head: false,
        window,
    }
}

/// `<unk>`, `<s>`, `</s>` and the 256 bytes: the smallest vocabulary that any text fits.
pub const BYTE_TOKENS: usize = 259;

/// Nearly gaussian with variance one: the sum of four uniform numbers. Its tails end at 3.5, which
/// is where those of trained weights rarely get.
pub fn gaussian(random: &mut SplitMix64) -> f32 {
    let bits = random.bits();
    let sum: f32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as f32).sum();
    (sum / 65_536.0 - 2.0) * 3.0_f32.sqrt()
}

/// Writes a model with `vocab` tokens; its matrices are stored as `quant` (which must be writable).
///
/// # Errors
/// If the file can't be written.
///
/// # Panics
/// If the shape does not fit the block type.
pub fn write_model(
    path: &Path,
    shape: &Shape,
    vocab: usize,
    quant: Quant,
    seed: u64,
) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    make(shape, vocab, quant, seed).write_to(&mut file)?;
    file.flush()
}

/// The bytes of such a file.
///
/// # Panics
/// If the shape does not fit the block type.
pub fn model_bytes(shape: &Shape, vocab: usize, quant: Quant, seed: u64) -> Vec<u8> {
    make(shape, vocab, quant, seed).to_bytes()
}

fn make(shape: &Shape, vocab: usize, quant: Quant, seed: u64) -> GgufWriter<'static> {
    let mut maker = Maker { writer: GgufWriter::new(), random: SplitMix64(seed), quant };
    maker.metadata(shape);
    maker.vocabulary(vocab);
    maker.tensors(shape, vocab);
    maker.writer
}

struct Maker {
    writer: GgufWriter<'static>,
    random: SplitMix64,
    quant: Quant,
}

impl Maker {
    fn metadata(&mut self, s: &Shape) {
        let w = &mut self.writer;
        w.put("general.architecture", s.arch);
        w.put("general.type", "model");
        w.put("general.name", "random");
        let key = |name: &str| format!("{}.{name}", s.arch);
        let counts = [
            ("context_length", 4096),
            ("embedding_length", s.width),
            ("block_count", s.layers),
            ("feed_forward_length", s.ff),
            ("attention.head_count", s.heads),
            ("attention.head_count_kv", s.kv_heads),
            ("attention.key_length", s.head_dim),
            ("attention.value_length", s.head_dim),
        ];
        for (name, value) in counts {
            w.put(&key(name), value as u32);
        }
        w.put(&key("attention.layer_norm_rms_epsilon"), 1e-6_f32);
        w.put(&key("rope.freq_base"), s.theta);
        if s.arch == "llama" {
            w.put(&key("rope.dimension_count"), s.head_dim as u32);
        }
        if s.window > 0 {
            w.put(&key("attention.sliding_window"), s.window as u32);
        }
    }

    /// The byte tokens, and after them as many words as it takes.
    fn vocabulary(&mut self, vocab: usize) {
        let w = &mut self.writer;
        let mut tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
        tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
        let mut kinds = vec![2, 3, 3];
        kinds.resize(tokens.len(), 6);
        assert!(vocab >= tokens.len(), "fewer tokens than bytes");
        tokens.extend((tokens.len()..vocab).map(|i| format!("\u{2581}w{i}")));
        kinds.resize(vocab, 1);
        w.put("tokenizer.ggml.model", "llama");
        w.put_strings("tokenizer.ggml.tokens", &tokens);
        w.put_f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
        w.put_i32s("tokenizer.ggml.token_type", &kinds);
        w.put("tokenizer.ggml.unknown_token_id", 0u32);
        w.put("tokenizer.ggml.bos_token_id", 1u32);
        w.put("tokenizer.ggml.eos_token_id", 2u32);
    }

    fn tensors(&mut self, s: &Shape, vocab: usize) {
        let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        let residual = 1.0 / ((2 * s.layers) as f32).sqrt();
        self.matrix("token_embd", vocab, s.width, 1.0);
        if s.head {
            self.matrix("output", vocab, s.width, 1.0);
        }
        if s.factors {
            let factors: Vec<f32> = (0..s.head_dim / 2).map(|i| frequency_factor(s, i)).collect();
            self.vector("rope_freqs.weight", &factors);
        }
        self.norm("output_norm", s.width);
        for layer in 0..s.layers {
            let name = |kind: &str| format!("blk.{layer}.{kind}");
            self.norm(&name("attn_norm"), s.width);
            self.matrix(&name("attn_q"), q, s.width, 1.0);
            self.matrix(&name("attn_k"), kv, s.width, 1.0);
            self.matrix(&name("attn_v"), kv, s.width, 1.0);
            if s.arch == "qwen2" {
                for (kind, n) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
                    let bias: Vec<f32> =
                        (0..n).map(|_| 0.02 * gaussian(&mut self.random)).collect();
                    self.vector(&name(&format!("{kind}.bias")), &bias);
                }
            }
            if matches!(s.arch, "qwen3" | "gemma3") {
                self.norm(&name("attn_q_norm"), s.head_dim);
                self.norm(&name("attn_k_norm"), s.head_dim);
            }
            self.matrix(&name("attn_output"), s.width, q, residual);
            if s.arch == "gemma3" {
                self.norm(&name("post_attention_norm"), s.width);
                self.norm(&name("post_ffw_norm"), s.width);
            }
            self.norm(&name("ffn_norm"), s.width);
            self.matrix(&name("ffn_gate"), s.ff, s.width, 1.0);
            self.matrix(&name("ffn_up"), s.ff, s.width, 1.0);
            self.matrix(&name("ffn_down"), s.width, s.ff, residual);
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize, gain: f32) {
        let scale = gain / (cols as f32).sqrt();
        let mut bytes = Vec::new();
        let mut row = vec![0.0; cols];
        for _ in 0..rows {
            row.fill_with(|| scale * gaussian(&mut self.random));
            self.quant.quantize(&row, &mut bytes);
        }
        self.writer.tensor(&format!("{name}.weight"), self.quant, &[cols, rows], bytes);
    }

    fn norm(&mut self, name: &str, n: usize) {
        let values: Vec<f32> = (0..n).map(|_| 1.0 + 0.1 * gaussian(&mut self.random)).collect();
        self.vector(&format!("{name}.weight"), &values);
    }

    fn vector(&mut self, name: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.writer.tensor(name, Quant::F32, &[values.len()], bytes);
    }
}

/// Llama 3.2's frequency factors (factor 32, low 1, high 4, first trained on 8192 tokens): long
/// waves are slowed down, short ones kept, those between interpolated.
fn frequency_factor(s: &Shape, i: usize) -> f32 {
    let (factor, low, high, context) = (32.0, 1.0, 4.0, 8192.0);
    let exponent = 2.0 * i as f64 / s.head_dim as f64;
    let wave = 2.0 * std::f64::consts::PI * f64::from(s.theta).powf(exponent);
    if wave < context / high {
        1.0
    } else if wave > context / low {
        factor as f32
    } else {
        let smooth = (context / wave - low) / (high - low);
        (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
    }
}

/// Writes a random adapter on all seven linear maps of every block of the model at `base`, in
/// llama.cpp's format.
///
/// # Errors
/// If the base can't be read or the file can't be written.
pub fn write_adapter(
    path: &Path,
    base: &Path,
    rank: usize,
    seed: u64,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    const KINDS: [&str; 7] =
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let bytes = std::fs::read(base)?;
    let gguf = Gguf::parse(&bytes)?;
    let mut random = SplitMix64(seed);
    let mut writer = GgufWriter::new();
    writer.put("general.architecture", gguf.str("general.architecture")?);
    writer.put("general.type", "adapter");
    writer.put("adapter.type", "lora");
    writer.put("adapter.lora.alpha", 2.0 * rank as f32);
    for tensor in gguf.tensors() {
        let adapted = |kind: &&str| tensor.name.ends_with(&format!(".{kind}.weight"));
        if !KINDS.iter().any(adapted) {
            continue;
        }
        let mut part = |suffix: &str, cols: usize, rows: usize, scale: f32| {
            let value = |_| scale * gaussian(&mut random);
            let bytes: Vec<u8> = (0..rows * cols).map(value).flat_map(f32::to_le_bytes).collect();
            writer.tensor(&format!("{}.{suffix}", tensor.name), Quant::F32, &[cols, rows], bytes);
        };
        part("lora_a", tensor.cols, rank, 1.0 / (tensor.cols as f32).sqrt());
        part("lora_b", rank, tensor.rows, 0.1);
    }
    std::fs::write(path, writer.to_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_nearly_gaussian() {
        let mut random = SplitMix64(1);
        let values: Vec<f32> = (0..100_000).map(|_| gaussian(&mut random)).collect();
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
