#!/usr/bin/env python3
"""PyTorch + PEFT as peer: speed of LoRA training on a model of a well-known shape.

usage: torch_lora.py SHAPE f32|bf16 [--tokens 512] [--rank 8] [--threads 2] [--steps 4]
                     [--device cuda]

Rank-8 pairs on all seven linear maps, one sequence a step, AdamW, random weights. Prints one JSON
object: tokens per second of the fastest step after the first, and the peak of resident memory; on
a GPU also the peak of its memory.
"""

import argparse
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def shape(hidden, layers, heads, kv, ff, vocab):
    return dict(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=ff,
        vocab_size=vocab,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        use_cache=False,
    )


SHAPES = {
    "SmolLM2-135M": (LlamaForCausalLM, LlamaConfig, shape(576, 30, 9, 3, 1536, 49152)),
    "Qwen2.5-0.5B": (Qwen2ForCausalLM, Qwen2Config, shape(896, 24, 14, 2, 4864, 151936)),
    "Llama-3.2-1B": (LlamaForCausalLM, LlamaConfig, shape(2048, 16, 32, 8, 8192, 128256)),
}


def wait(device):
    """Until the GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("dtype", choices=["f32", "bf16"])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model_class, config_class, config = SHAPES[a.shape]
    torch.set_default_dtype(torch.float32 if a.dtype == "f32" else torch.bfloat16)
    model = model_class(config_class(**config))
    torch.set_default_dtype(torch.float32)
    lora = LoraConfig(
        r=a.rank, lora_alpha=2 * a.rank, target_modules=TARGETS, task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora)
    model.to(a.device).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4)
    seconds = []
    for _ in range(a.steps):
        ids = torch.randint(0, config["vocab_size"], (1, a.tokens), device=a.device)
        wait(a.device)
        start = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait(a.device)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speed = a.tokens / min(seconds[1:])
    answer = {"train_tokens_per_second": speed, "peak_rss_mb": peak}
    if a.device != "cpu":
        answer["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(answer))


main()
