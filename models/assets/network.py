"""The embedded model in PyTorch: architecture, tokenizer, GGUF file, exact-match test."""

import json
import os

import gguf
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from grammar import HERE

# The architecture is qwen3's, small.
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FF, CONTEXT = 256, 5, 8, 4, 32, 512, 1024
VOCAB, ROPE_BASE, EPS = 1536, 10_000.0, 1e-6
PROMPT_WEIGHT = 0.1  # of the loss on user text; replies weigh 1

FILE = HERE / "sapwood-assistant-q8_0.gguf"
START, END, STOP = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# --- tokens ---


def byte_level(bpe):
    """A tokenizer over bytes that splits text as qwen2's does."""
    tokenizer = Tokenizer(bpe)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode(bpe, conversations):
    """Token ids and loss weights (of predicting each token) of (user, assistant, learn) turns."""
    pieces, plan = [], []
    for turns in conversations:
        for user, assistant, _ in turns:
            pieces += [f"{START}user\n{user}{END}\n{START}assistant\n", f"{assistant}{END}", "\n"]
        plan.append([(PROMPT_WEIGHT, float(learn), 0.0) for *_, learn in turns])
    ids = iter(e.ids for e in bpe.encode_batch(pieces, add_special_tokens=False))
    out = []
    for turns in plan:
        tokens, weights = [], []
        for turn in turns:
            for weight in turn:
                part = next(ids)
                tokens += part
                weights += [weight] * len(part)
        out.append((tokens, weights))
    return out


# --- model ---


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.attn_norm, self.ffn_norm = (
            nn.Parameter(torch.ones(WIDTH)),
            nn.Parameter(torch.ones(WIDTH)),
        )
        self.attn_q_norm, self.attn_k_norm = (
            nn.Parameter(torch.ones(HEAD_DIM)),
            nn.Parameter(torch.ones(HEAD_DIM)),
        )
        self.attn_q, self.attn_output = (
            linear(WIDTH, HEADS * HEAD_DIM),
            linear(HEADS * HEAD_DIM, WIDTH),
        )
        self.attn_k, self.attn_v = (
            linear(WIDTH, KV_HEADS * HEAD_DIM),
            linear(WIDTH, KV_HEADS * HEAD_DIM),
        )
        self.ffn_gate, self.ffn_up, self.ffn_down = (
            linear(WIDTH, FF),
            linear(WIDTH, FF),
            linear(FF, WIDTH),
        )

    def forward(self, x, cos, sin, mask):
        batch, time_, _ = x.shape
        heads = lambda t: t.view(batch, time_, -1, HEAD_DIM)
        rotate = lambda t: (
            t * cos + torch.cat((-t[..., HEAD_DIM // 2 :], t[..., : HEAD_DIM // 2]), -1) * sin
        )
        h = rms_norm(x, self.attn_norm)
        q = rotate(rms_norm(heads(self.attn_q(h)), self.attn_q_norm)).transpose(1, 2)
        k = rotate(rms_norm(heads(self.attn_k(h)), self.attn_k_norm)).transpose(1, 2)
        v = heads(self.attn_v(h)).transpose(1, 2)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.attn_output(a.transpose(1, 2).reshape(batch, time_, -1))
        h = rms_norm(x, self.ffn_norm)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rms_norm(x, weight):
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), EPS)


class Assistant(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embd = nn.Embedding(VOCAB, WIDTH)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = nn.Parameter(torch.ones(WIDTH))
        nn.init.normal_(self.token_embd.weight, std=0.02)
        for block in self.blk:
            for name, p in block.named_parameters():
                if p.ndim == 2:
                    zero = name.startswith(("attn_output", "ffn_down"))
                    nn.init.normal_(p, std=0.0 if zero else WIDTH**-0.5)

    def forward(self, ids, positions, numbers):
        """Logits [batch, time, VOCAB]; tokens see earlier tokens of the same number."""
        x = self.token_embd(ids)
        if torch.is_autocast_enabled("cpu"):
            x = x.bfloat16()
        angle = positions[..., None] / ROPE_BASE ** (torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.cat((angle, angle), -1)[:, :, None]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        order = torch.arange(ids.shape[1])
        mask = (numbers[:, :, None] == numbers[:, None]) & (order[:, None] >= order)
        mask = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -torch.inf)[:, None]
        for block in self.blk:
            x = block(x, cos, sin, mask)
        return F.linear(rms_norm(x, self.output_norm), self.token_embd.weight)


# --- file ---


def write_gguf(model, bpe, path, quant=gguf.GGMLQuantizationType.Q8_0):
    """Quantized matrices, F32 norms, the names and keys of llama.cpp's qwen3."""
    w = gguf.GGUFWriter(str(path) + ".tmp", "qwen3")
    w.add_name("Sapwood Assistant")
    w.add_license("MIT OR Apache-2.0")
    w.add_description(
        "Tiny assistant for apps: triage, extraction, short replies, rewriting. English."
    )
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_rope_freq_base(ROPE_BASE)
    w.add_layer_norm_rms_eps(EPS)
    w.add_vocab_size(VOCAB)
    spec = json.loads(bpe.to_str())
    tokens = [t for t, _ in sorted(bpe.get_vocab().items(), key=lambda item: item[1])]
    special = {START, END, STOP}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types(
        [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    )
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]])
    w.add_eos_token_id(bpe.token_to_id(END))
    w.add_bos_token_id(bpe.token_to_id(STOP))
    w.add_pad_token_id(bpe.token_to_id(STOP))
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)
    for name, p in model.state_dict().items():
        name, values = name.removesuffix(".weight") + ".weight", p.float().numpy()
        kind = quant if p.ndim == 2 else gguf.GGMLQuantizationType.F32
        w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.replace(str(path) + ".tmp", path)


def read_gguf(path):
    """The model as its quantized file has it, and its tokenizer."""
    reader, model = gguf.GGUFReader(path), Assistant()
    values = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    state = {
        k: torch.from_numpy(values[k.removesuffix(".weight") + ".weight"].copy())
        for k in model.state_dict()
    }
    model.load_state_dict(state)
    field = lambda key: reader.get_field(key).contents()
    vocab = {t: i for i, t in enumerate(field("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    bpe = byte_level(models.BPE(vocab, merges))
    bpe.add_special_tokens([STOP, START, END])
    return model.eval(), bpe


# --- test ---


@torch.no_grad()
def exact(model, bpe, conversations, batch=32):
    """Whether greedy decoding gives the last answer exactly, per conversation of (user,
    assistant) turns.

    The greedy text equals the answer if and only if every token of it, the end token too, is the
    likeliest one after those before: one forward pass tells.
    """
    data = encode(
        bpe,
        [
            [(u, a, i + 1 == len(turns)) for i, (u, a) in enumerate(turns)]
            for turns in conversations
        ],
    )
    order, right = sorted(range(len(data)), key=lambda i: len(data[i][0])), [False] * len(data)
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        length = max(len(data[i][0]) for i in part)
        ids = torch.tensor([data[i][0] + [0] * (length - len(data[i][0])) for i in part])
        positions = torch.arange(length).expand(len(part), -1)
        best = model(ids, positions, torch.ones_like(ids)).argmax(-1)
        for row, i in enumerate(part):
            target = torch.tensor(data[i][1])[1:] == 1
            right[i] = bool(
                (best[row, : len(target)][target] == ids[row, 1 : len(target) + 1][target]).all()
            )
    return right
