//! Proper small models of every architecture, which the changes start from.

use super::file::{Description, Encoded};

/// What a small model is like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub architecture: &'static str,
    pub layers: u64,
    pub kv_heads: u64,
    /// Query heads of each key head.
    pub group: u64,
    pub head_dim: u64,
    pub ff: u64,
    pub sentence_piece: bool,
    pub tied: bool,
}

/// All that there are.
pub const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

impl Shape {
    /// One layer of everything.
    pub fn fixed(architecture: &'static str) -> Self {
        let (layers, kv_heads, group, head_dim, ff) = (1, 1, 2, 8, 24);
        Self {
            architecture,
            layers,
            kv_heads,
            group,
            head_dim,
            ff,
            sentence_piece: false,
            tied: true,
        }
    }

    /// The file, with nothing wrong.
    pub fn describe(&self) -> Description {
        let mut file = Description::default();
        let heads = self.kv_heads * self.group;
        let width = 16;
        file.set("general.architecture", Encoded::text(self.architecture.as_bytes()));
        let prefix = self.architecture;
        for (key, value) in [
            ("block_count", self.layers),
            ("embedding_length", width),
            ("feed_forward_length", self.ff),
            ("attention.head_count", heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("context_length", 64),
        ] {
            file.set(&format!("{prefix}.{key}"), Encoded::u32(value as u32));
        }
        let epsilon = format!("{prefix}.attention.layer_norm_rms_epsilon");
        file.set(&epsilon, Encoded::f32(1e-5));
        file.set(&format!("{prefix}.rope.freq_base"), Encoded::f32(1e4));
        if prefix == "gemma3" {
            file.set("gemma3.attention.sliding_window", Encoded::u32(5));
        }
        let tokens = if self.sentence_piece { sentence_piece(&mut file) } else { bpe(&mut file) };
        file.set("tokenizer.chat_template", Encoded::text(TEMPLATE.as_bytes()));
        file.floats("token_embd.weight", &[width, tokens]);
        file.floats("output_norm.weight", &[width]);
        if !self.tied {
            file.floats("output.weight", &[width, tokens]);
        }
        for layer in 0..self.layers {
            self.layer(&mut file, layer, width);
        }
        file
    }

    fn layer(&self, file: &mut Description, layer: u64, width: u64) {
        let (q, kv) = (self.kv_heads * self.group * self.head_dim, self.kv_heads * self.head_dim);
        let mut parts = vec![
            ("attn_norm.weight", vec![width]),
            ("attn_q.weight", vec![width, q]),
            ("attn_k.weight", vec![width, kv]),
            ("attn_v.weight", vec![width, kv]),
            ("attn_output.weight", vec![q, width]),
            ("ffn_norm.weight", vec![width]),
            ("ffn_gate.weight", vec![width, self.ff]),
            ("ffn_up.weight", vec![width, self.ff]),
            ("ffn_down.weight", vec![self.ff, width]),
        ];
        match self.architecture {
            "qwen2" => parts.extend([
                ("attn_q.bias", vec![q]),
                ("attn_k.bias", vec![kv]),
                ("attn_v.bias", vec![kv]),
            ]),
            "qwen3" | "gemma3" => parts.extend([
                ("attn_q_norm.weight", vec![self.head_dim]),
                ("attn_k_norm.weight", vec![self.head_dim]),
            ]),
            _ => {}
        }
        if self.architecture == "gemma3" {
            parts.extend([
                ("post_attention_norm.weight", vec![width]),
                ("post_ffw_norm.weight", vec![width]),
            ]);
        }
        for (part, dims) in parts {
            file.floats(&format!("blk.{layer}.{part}"), &dims);
        }
    }
}

/// ChatML.
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
    {{ message['content'] }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// GPT-2's alphabet: the character that stands for each byte.
pub fn alphabet() -> Vec<String> {
    let mut next = 0x100;
    let character = |byte: u32| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from_u32(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1)
        }
    };
    (0..256).map(character).map(|c| c.expect("all below U+0200").to_string()).collect()
}

/// A byte-level vocabulary; returns its size.
fn bpe(file: &mut Description) -> u64 {
    let mut tokens = alphabet();
    let merges = ["h e", "l l", "he ll", "hell o", "\u{120} w"];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for special in ["<|im_start|>", "<|im_end|>"] {
        tokens.push(special.to_owned());
        types.push(3);
    }
    let end = tokens.len() as u32 - 1;
    file.set("tokenizer.ggml.model", Encoded::text(b"gpt2"));
    file.set("tokenizer.ggml.pre", Encoded::text(b"qwen2"));
    file.set("tokenizer.ggml.tokens", Encoded::strings(&tokens));
    file.set("tokenizer.ggml.token_type", Encoded::i32s(&types));
    file.set("tokenizer.ggml.merges", Encoded::strings(&merges));
    file.set("tokenizer.ggml.eos_token_id", Encoded::u32(end));
    tokens.len() as u64
}

/// A SentencePiece vocabulary; returns its size.
fn sentence_piece(file: &mut Description) -> u64 {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut types = vec![2, 3, 3];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), 6);
    for piece in ["\u{2581}", "a", "b", "c", "\u{2581}a", "ab", "abc", "\u{2581}\u{2581}"] {
        tokens.push(piece.to_owned());
        types.push(1);
    }
    for special in ["<|im_start|>", "<|im_end|>"] {
        tokens.push(special.to_owned());
        types.push(3);
    }
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    file.set("tokenizer.ggml.model", Encoded::text(b"llama"));
    file.set("tokenizer.ggml.tokens", Encoded::strings(&tokens));
    file.set("tokenizer.ggml.token_type", Encoded::i32s(&types));
    file.set("tokenizer.ggml.scores", Encoded::f32s(&scores));
    tokens.len() as u64
}
