#!/usr/bin/env python3
"""Golden LoRA training curves from PyTorch + PEFT, on tiny seeded models of each architecture.

usage: make_peft_golden.py [OUT_DIR]        (default: the folder peft/ beside this script)

For each case it writes four files:
  NAME.gguf             the frozen base, in the block type of the case
  NAME.init.lora.gguf   the adapter before the first step (A and B both non-zero)
  NAME.final.lora.gguf  the adapter after the last step, trained in f64
  NAME.json             sequences, optimizer settings, logits, loss and gradient-norm curves

PyTorch computes with the dequantized weights of exactly these files, so a difference is a
difference in arithmetic, never in weights. Every curve is made twice, in f32 and in f64: their
distance is the floor below which no f32 implementation can be told from another.

Needs: torch, transformers, peft, gguf, numpy (made with 2.15.0, 5.23.0, 0.21.2, 0.19.0, 2.4.6).
"""

import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 260  # <unk> <s> </s>, the 256 byte tokens and the space
STEPS, BATCH, RANK, ALPHA = 10, 2, 4, 8.0
OPTIMIZER = {
    "learning_rate": 5e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
}
ROPE_FACTORS = {"factor": 8.0, "low": 1.0, "high": 4.0, "context": 64}

CASES = {
    "llama": {"type": Type.F32, "ff": 72, "layers": 2, "heads": 4, "kv": 2, "head_dim": 16},
    "llama3": {"type": Type.F16, "ff": 96, "layers": 2, "heads": 4, "kv": 2, "head_dim": 16},
    "qwen2": {"type": Type.Q4_0, "ff": 128, "layers": 2, "heads": 4, "kv": 2, "head_dim": 16},
    "qwen3": {"type": Type.Q8_0, "ff": 96, "layers": 2, "heads": 4, "kv": 2, "head_dim": 32},
    # Six layers, because the sixth is gemma3's first without the sliding window.
    "gemma3": {"type": Type.Q4_0, "ff": 96, "layers": 6, "heads": 4, "kv": 1, "head_dim": 32},
}
D = 64
WINDOW = 8  # gemma3: shorter than the sequences, so that the mask matters

KINDS = {  # GGUF name -> Hugging Face name
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMS = {  # arch -> {GGUF name: Hugging Face name}
    "llama": {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}


def hugging_face(name, c):
    """The Hugging Face model of a case, weights still to be set."""
    common = dict(
        vocab_size=VOCAB,
        hidden_size=D,
        intermediate_size=c["ff"],
        num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"],
        num_key_value_heads=c["kv"],
        head_dim=c["head_dim"],
        max_position_embeddings=256,
        attn_implementation="sdpa",
        use_cache=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    theta = {"rope_theta": 10000.0, "rope_type": "default"}
    if name == "llama":
        tied = dict(rms_norm_eps=1e-5, tie_word_embeddings=True)
        return LlamaForCausalLM(LlamaConfig(rope_parameters=theta, **tied, **common))
    if name == "llama3":
        rope = {
            "rope_theta": 10000.0,
            "rope_type": "llama3",
            "factor": ROPE_FACTORS["factor"],
            "low_freq_factor": ROPE_FACTORS["low"],
            "high_freq_factor": ROPE_FACTORS["high"],
            "original_max_position_embeddings": ROPE_FACTORS["context"],
        }
        untied = dict(rms_norm_eps=1e-5, tie_word_embeddings=False)
        return LlamaForCausalLM(LlamaConfig(rope_parameters=rope, **untied, **common))
    common.update(rms_norm_eps=1e-6, tie_word_embeddings=True)
    if name == "qwen2":
        del common["head_dim"]
        return Qwen2ForCausalLM(Qwen2Config(rope_parameters=theta, **common))
    if name == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(rope_parameters=theta, **common))
    rope = {
        "full_attention": {"rope_theta": 1000000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    }
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            rope_parameters=rope,
            query_pre_attn_scalar=c["head_dim"],
            sliding_window=WINDOW,
            **common,
        )
    )


def interleave(rows, heads):
    """Hugging Face rotates halves, llama.cpp's `llama` rotates neighbours: reorder the rows."""
    n, cols = rows.shape[0], rows.shape[1:]
    halves = rows.reshape(heads, 2, n // heads // 2, *cols)
    return halves.swapaxes(1, 2).reshape(rows.shape)


def rope_frequency_factors(head_dim, theta=10000.0):
    """Llama 3's frequency factors, as its converter stores them in rope_freqs.weight."""
    f = ROPE_FACTORS
    out = []
    for i in range(0, head_dim, 2):
        wave = 2 * math.pi * theta ** (i / head_dim)
        if wave < f["context"] / f["high"]:
            out.append(1.0)
        elif wave > f["context"] / f["low"]:
            out.append(f["factor"])
        else:
            smooth = (f["context"] / wave - f["low"]) / (f["high"] - f["low"])
            out.append(1 / ((1 - smooth) / f["factor"] + smooth))
    return np.array(out, dtype=np.float32)


class Base:
    """A base model: its GGUF file and, under the same names, what PyTorch must compute with."""

    def __init__(self, name, c, path, rng):
        self.arch = "llama" if name == "llama3" else name
        self.case, self.type = c, c["type"]
        self.torch = {}
        w = gguf.GGUFWriter(path, self.arch)
        self.writer = w
        self.metadata(name, w, c)
        self.linear("token_embd", "model.embed_tokens", rng.standard_normal((VOCAB, D)) * 0.25)
        if name == "llama3":
            self.linear("output", "lm_head", rng.standard_normal((VOCAB, D)) / math.sqrt(D))
            w.add_tensor("rope_freqs.weight", rope_frequency_factors(c["head_dim"]))
        self.norm("output_norm", "model.norm", D, rng)
        for layer in range(c["layers"]):
            self.block(layer, rng)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()

    def metadata(self, name, w, c):
        w.add_type("model")
        w.add_name(f"golden-{name}")
        w.add_context_length(256)
        w.add_embedding_length(D)
        w.add_block_count(c["layers"])
        w.add_feed_forward_length(c["ff"])
        w.add_head_count(c["heads"])
        w.add_head_count_kv(c["kv"])
        w.add_rope_freq_base(1000000.0 if name == "gemma3" else 10000.0)
        w.add_layer_norm_rms_eps(1e-5 if self.arch == "llama" else 1e-6)
        w.add_vocab_size(VOCAB)
        if self.arch == "llama":
            w.add_rope_dimension_count(c["head_dim"])
        if self.arch in ("qwen3", "gemma3"):
            w.add_key_length(c["head_dim"])
            w.add_value_length(c["head_dim"])
        if self.arch == "gemma3":
            w.add_sliding_window(WINDOW)
        tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581"]
        w.add_tokenizer_model("llama")
        w.add_token_list(tokens)
        w.add_token_scores([0.0] * VOCAB)
        w.add_token_types([2, 3, 3] + [6] * 256 + [1])
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)

    def linear(self, name, torch_name, values, heads=0):
        """Quantize, store (rows reordered for llama's q and k), keep the dequantized values."""
        values = values.astype(np.float32)
        data = gguf.quantize(values, self.type)
        back = gguf.dequantize(data, self.type).reshape(values.shape)
        self.torch[torch_name + ".weight"] = back
        # Blocks lie along a row: reordering rows commutes with quantizing.
        if heads and self.arch == "llama":
            data = interleave(data, heads)
        raw = None if self.type in (Type.F32, Type.F16) else self.type
        self.writer.add_tensor(name + ".weight", np.ascontiguousarray(data), raw_dtype=raw)

    def norm(self, name, torch_name, n, rng):
        """Norm weights around one. Gemma's checkpoints hold w, its GGUF files hold 1 + w."""
        values = (1 + 0.2 * rng.standard_normal(n)).astype(np.float32)
        self.writer.add_tensor(name + ".weight", values)
        if self.arch == "gemma3":
            values = values.astype(np.float64) - 1
        self.torch[torch_name + ".weight"] = values

    def block(self, layer, rng):
        c, here, there = self.case, f"blk.{layer}.", f"model.layers.{layer}."
        for name, torch_name in NORMS.get(self.arch, NORMS["llama"]).items():
            self.norm(here + name, there + torch_name, D, rng)
        if self.arch in ("qwen3", "gemma3"):
            for x in "qk":
                self.norm(f"{here}attn_{x}_norm", f"{there}self_attn.{x}_norm", c["head_dim"], rng)
        for kind, (n_out, n_in) in self.shapes().items():
            gain = 0.5 if kind in ("attn_output", "ffn_down") else 1.0
            values = rng.standard_normal((n_out, n_in)) * gain / math.sqrt(n_in)
            heads = {"attn_q": c["heads"], "attn_k": c["kv"]}.get(kind, 0)
            self.linear(here + kind, there + KINDS[kind], values, heads)
            if self.arch == "qwen2" and kind in ("attn_q", "attn_k", "attn_v"):
                bias = (0.3 * rng.standard_normal(n_out)).astype(np.float32)
                self.writer.add_tensor(f"{here}{kind}.bias", bias)
                self.torch[f"{there}{KINDS[kind]}.bias"] = bias

    def shapes(self):
        """(n_out, n_in) of the seven linear maps of a block."""
        c = self.case
        q, kv = c["heads"] * c["head_dim"], c["kv"] * c["head_dim"]
        return {
            "attn_q": (q, D),
            "attn_k": (kv, D),
            "attn_v": (kv, D),
            "attn_output": (D, q),
            "ffn_gate": (c["ff"], D),
            "ffn_up": (c["ff"], D),
            "ffn_down": (D, c["ff"]),
        }

    def adapter(self, rng):
        """Both factors random: with B = 0 the first step would say nothing about A."""
        out = {}
        for layer in range(self.case["layers"]):
            for kind, (n_out, n_in) in self.shapes().items():
                a = rng.standard_normal((RANK, n_in)) / math.sqrt(n_in)
                b = rng.standard_normal((n_out, RANK)) * 0.05
                out[layer, kind] = (a.astype(np.float32), b.astype(np.float32))
        return out

    def write_adapter(self, path, adapter):
        w = gguf.GGUFWriter(path, self.arch)
        w.add_type("adapter")
        w.add_string("adapter.type", "lora")
        w.add_float32("adapter.lora.alpha", ALPHA)
        heads = {"attn_q": self.case["heads"], "attn_k": self.case["kv"]}
        for (layer, kind), (a, b) in adapter.items():
            if self.arch == "llama" and kind in heads:
                b = interleave(b, heads[kind])
            name = f"blk.{layer}.{kind}.weight"
            w.add_tensor(name + ".lora_a", np.ascontiguousarray(a, dtype=np.float32))
            w.add_tensor(name + ".lora_b", np.ascontiguousarray(b, dtype=np.float32))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()


def exact_norms(model):
    """The RMS norms of transformers compute in f32 whatever the model's type: not in our f64."""
    for m in model.modules():
        kind = type(m).__name__
        if not kind.endswith("RMSNorm"):
            continue
        eps = m.eps if kind.startswith("Gemma") else m.variance_epsilon
        plus = 1.0 if kind.startswith("Gemma") else 0.0

        def forward(x, m=m, eps=eps, plus=plus):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (m.weight + plus)

        m.forward = forward


def peft_model(name, base, adapter, dtype):
    """The PEFT model with the base's dequantized weights and the given adapter."""
    model = hugging_face(name, base.case)
    state = {k: torch.tensor(np.asarray(v)) for k, v in base.torch.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(m == "lm_head.weight" for m in missing), missing
    model = model.to(dtype)
    if dtype == torch.float64:
        exact_norms(model)
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=[k.split(".")[1] for k in KINDS.values()],
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config, autocast_adapter_dtype=False).to(dtype)
    model.train()
    for key, (a, b) in adapter.items():
        pair_a, pair_b = lora_pair(model, key)
        with torch.no_grad():
            pair_a.copy_(torch.from_numpy(a))
            pair_b.copy_(torch.from_numpy(b))
    return model


def lora_pair(model, key):
    layer, kind = key
    part, proj = KINDS[kind].split(".")
    block = model.base_model.model.model.layers[layer]
    linear = getattr(getattr(block, part), proj)
    return linear.lora_A["default"].weight, linear.lora_B["default"].weight


def target_logp(model, sequence):
    """Log-probabilities of the tokens after the prompt, each given all before it."""
    ids = torch.tensor([sequence["ids"]])
    logits = model(input_ids=ids).logits[0]
    logp = torch.log_softmax(logits, dim=-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
    return logp[sequence["prompt"] - 1 :], logits[-1]


def train(model, sequences):
    """AdamW on the mean over a batch's target tokens. Returns losses and gradient norms."""
    o = OPTIMIZER
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(
        params,
        lr=o["learning_rate"],
        betas=(o["beta1"], o["beta2"]),
        eps=o["epsilon"],
        weight_decay=o["weight_decay"],
        foreach=False,
    )
    losses, norms = [], []
    for step in range(STEPS):
        batch = [sequences[(step * BATCH + i) % len(sequences)] for i in range(BATCH)]
        logp = torch.cat([target_logp(model, s)[0] for s in batch])
        loss = -logp.mean()
        opt.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(params, o["clip_norm"])))
        opt.step()
        losses.append(float(loss.detach()))
    return losses, norms


def numbers(tensor):
    return [float(f"{x:.9g}") for x in tensor.detach().to(torch.float64).tolist()]


def golden(name, out):
    c = CASES[name]
    rng = np.random.default_rng(sum(name.encode()) * 1000 + 7)
    base = Base(name, c, out / f"{name}.gguf", rng)
    adapter = base.adapter(rng)
    base.write_adapter(out / f"{name}.init.lora.gguf", adapter)
    # None shorter than ten tokens: below that Sapwood multiplies quantized weights in int8, as in
    # decoding, which is fine for use and 5e-3 away from any f32 curve.
    sequences = []
    for length, prompt in ((21, 6), (40, 17), (12, 1), (33, 12), (26, 20)):
        ids = [1] + [int(x) for x in rng.integers(3, VOCAB, length - 1)]
        sequences.append({"ids": ids, "prompt": prompt})

    exact = peft_model(name, base, adapter, torch.float64)
    with torch.no_grad():
        logp, with_adapter = target_logp(exact, sequences[1])
        with exact.disable_adapter():
            _, without = target_logp(exact, sequences[1])
    losses, norms = train(exact, sequences)
    final = {}
    for key in adapter:
        a, b = lora_pair(exact, key)
        final[key] = (a.detach().numpy(), b.detach().numpy())
    base.write_adapter(out / f"{name}.final.lora.gguf", final)
    losses32, norms32 = train(peft_model(name, base, adapter, torch.float32), sequences)

    result = {
        "arch": base.arch,
        "type": c["type"].name,
        "rank": RANK,
        "alpha": ALPHA,
        "batch": BATCH,
        "optimizer": OPTIMIZER,
        "sequences": sequences,
        "logits_sequence": 1,
        "last_logits_base": numbers(without),
        "last_logits_adapter": numbers(with_adapter),
        "target_logp": numbers(logp),
        "losses_f64": losses,
        "losses_f32": losses32,
        "gradient_norms_f64": norms,
        "gradient_norms_f32": norms32,
    }
    text = json.dumps(result, indent=None, separators=(",", ":")).replace('],"', '],\n"')
    (out / f"{name}.json").write_text(text + "\n")
    floor = max(abs(a - b) for a, b in zip(losses, losses32))
    print(f"{name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, f32 differs by {floor:.1e}")


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "peft"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in CASES:
        golden(name, out)


if __name__ == "__main__":
    main()
