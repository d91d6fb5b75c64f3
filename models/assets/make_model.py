"""Makes the embedded model: text, tokenizer, training, quantization, measurement.

    pip install torch numpy gguf tokenizers
    python make_model.py --minutes 60        # two cores; a killed run goes on from its checkpoint
    python make_model.py --measure FILE      # accuracy of a quantized file on held-out phrasings

Everything random is seeded; the length of the learning-rate schedule follows from `--minutes`, so
that two runs on machines of different speed give models of different quality, not equal files.
"""

import argparse
import json
import math
import os
import pathlib
import re
import time

import gguf
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from episodes import Episodes
from grammar import HERE, Grammar, Rng, load_known, load_pool

# The architecture is qwen3's, small.
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FF, CONTEXT = 256, 5, 8, 4, 32, 512, 1024
VOCAB, ROPE_BASE, EPS = 1536, 10_000.0, 1e-6
# Training.
SEED, WORKERS = 1, 2
ROW, ROWS = 512, 8  # tokens per packed row, rows per worker and step
CHUNK = 6000  # conversations generated at a time
PROMPT_WEIGHT = 0.1  # of the loss on user text; replies weigh 1
MATRIX_LR, VECTOR_LR, WARMUP, DECAY = 0.02, 3e-3, 0.02, 0.6
SAVE_EVERY_S = 240

CACHE = pathlib.Path(os.environ.get("SAPWOOD_ASSET_CACHE", pathlib.Path.home() / ".cache/sapwood/asset"))
FILE = HERE / "sapwood-assistant-q8_0.gguf"
START, END, STOP = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# --- text ---


def forbidden():
    """The pool's own words: none of them may occur in the training text."""
    known, pool = load_known(), load_pool()
    words = lambda value: set(re.findall(r"[a-z]{3,}", re.sub(r"\{[^}]*\}", " ", json.dumps(value)).lower()))
    ours = {k: known[k] for k in ("forms", "groups")} | {"lexicons": list(known["lexicons"].values())}
    theirs = [[g["category"] for g in pool["categories"]], list(pool["lexicons"].values())]
    theirs += [list(choice.values()) for choices in pool["preferences"].values() for choice in choices]
    return words(theirs) - words(ours) - {"all", "your", "from", "over"}


def stream(seed, barred):
    return Episodes(Grammar(load_known()), seed, barred)


def check_pool(episodes, barred, count=20_000):
    """Fails if the training text holds a word, a phrasing or a preference of the demo's pool."""
    pool, known = load_pool(), load_known()
    text = [t for _ in range(count) for turn in episodes.next() for t in turn[:2]]
    found = barred & set(re.findall(r"[a-z]{3,}", "\n".join(text).lower()))
    assert not found, f"the pool's words are in the training text: {sorted(found)}"
    shapes = [re.sub(r"\{[^}]*\}", "", p).lower() for g in pool["categories"] for s in ("train", "heldout") for p in g[s]]
    from episodes import ABOUT

    ours = {re.sub(r"\{[^}]*\}", "", p).lower() for p in ABOUT}
    ours |= {re.sub(r"\{[^}]*\}", "", p).lower() for g in known["groups"] for p in g["train"]}
    assert not ours & set(shapes), f"phrasings of the pool are in the training text: {ours & set(shapes)}"


def chat(turns):
    return "".join(f"{START}user\n{u}{END}\n{START}assistant\n{a}{END}\n" for u, a in turns)


def make_tokenizer(barred):
    path = CACHE / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    episodes = stream(SEED, barred)
    texts = (text for _ in range(40_000) for turn in episodes.next() for text in ("user\n", "assistant\n", *turn[:2]))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=[STOP, START, END], show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    assert bpe.get_vocab_size() == VOCAB
    CACHE.mkdir(parents=True, exist_ok=True)
    bpe.save(str(path))
    return bpe


def encode(bpe, conversations):
    """Token ids and loss weights (of predicting each token) per conversation of (user, assistant, learn) turns."""
    pieces, plan = [], []
    for turns in conversations:
        for user, assistant, learn in turns:
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


def pack(conversations):
    """Rows of ROW tokens that hold whole conversations, each of which sees only itself.

    Returns int64 ids, positions and conversation numbers, and f32 weights, all [rows, ROW + 1].
    """
    rows, free = [], []  # greedy best fit over the few rows with room
    for tokens, weights in conversations:
        tokens, weights = tokens[: ROW + 1], weights[: ROW + 1]
        fits = [i for i in free if len(rows[i][0]) + len(tokens) <= ROW + 1]
        i = max(fits, key=lambda i: len(rows[i][0])) if fits else len(rows)
        if not fits:
            rows.append(([], [], [], []))
            free = [*free[-15:], i]
        row = rows[i]
        number = row[2][-1] + 1 if row[2] else 1
        row[0].extend(tokens)
        row[1].extend(range(len(tokens)))
        row[2].extend([number] * len(tokens))
        row[3].extend([0.0, *weights[1:]])
    pad = lambda values: np.array([v + [0] * (ROW + 1 - len(v)) for v in values])
    ids, positions, numbers, weights = (pad([row[k] for row in rows]) for k in range(4))
    return ids, positions, numbers, weights.astype(np.float32)


# --- model ---


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.attn_q_norm, self.attn_k_norm = nn.Parameter(torch.ones(HEAD_DIM)), nn.Parameter(torch.ones(HEAD_DIM))
        self.attn_q, self.attn_output = linear(WIDTH, HEADS * HEAD_DIM), linear(HEADS * HEAD_DIM, WIDTH)
        self.attn_k, self.attn_v = linear(WIDTH, KV_HEADS * HEAD_DIM), linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.ffn_gate, self.ffn_up, self.ffn_down = linear(WIDTH, FF), linear(WIDTH, FF), linear(FF, WIDTH)

    def forward(self, x, cos, sin, mask):
        batch, time_, _ = x.shape
        heads = lambda t: t.view(batch, time_, -1, HEAD_DIM)
        rotate = lambda t: t * cos + torch.cat((-t[..., HEAD_DIM // 2 :], t[..., : HEAD_DIM // 2]), -1) * sin
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


# --- training ---


def orthogonalize(g):
    """Nearest orthogonal matrix by five Newton-Schulz steps (Muon; Jordan et al. 2024)."""
    x = g.bfloat16()
    if wide := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if wide else x).float()


class Optimizer:
    """Muon for the blocks' matrices, each worker doing its share; AdamW for the rest."""

    def __init__(self, model, rank):
        self.rank = rank
        self.matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blk")]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and n.startswith("blk"))]
        self.adam = torch.optim.AdamW(rest, lr=VECTOR_LR, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, factor):
        updates = [torch.zeros_like(p) for p in self.matrices]
        for i, (p, m) in enumerate(zip(self.matrices, self.momenta)):
            m.lerp_(p.grad, 0.05)
            if i % WORKERS == self.rank:
                updates[i] = orthogonalize(p.grad.lerp(m, 0.95)) * max(1, p.shape[0] / p.shape[1]) ** 0.5
        all_reduce(updates)
        for p, update in zip(self.matrices, updates):
            p.data.mul_(1 - MATRIX_LR * factor * 0.02).sub_(update, alpha=MATRIX_LR * factor)
        for group in self.adam.param_groups:
            group["lr"] = VECTOR_LR * factor
        self.adam.step()

    def state(self):
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load(self, state):
        for m, saved in zip(self.momenta, state["momenta"]):
            m.copy_(saved)
        self.adam.load_state_dict(state["adam"])


def all_reduce(tensors):
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for t, part in zip(tensors, flat.split([t.numel() for t in tensors])):
        t.copy_(part.view_as(t))


def batches(bpe, barred, rank, start):
    """Endless micro-batches of this worker, from chunk `start` on; the chunk's number comes along."""
    chunk = start
    while True:
        episodes = stream((SEED << 32) + (chunk * WORKERS + rank + 1), barred)
        data = pack(encode(bpe, [episodes.next() for _ in range(CHUNK)]))
        order = np.random.default_rng(chunk).permutation(len(data[0]))
        for i in range(0, len(order) - ROWS + 1, ROWS):
            yield chunk, [torch.from_numpy(part[order[i : i + ROWS]]) for part in data]
        chunk += 1


def worker(rank, args, barred):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(args.port))
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    bpe, model = make_tokenizer(barred), Assistant()
    optimizer = Optimizer(model, rank)
    step, elapsed, chunk = 0, 0.0, 0
    if (path := CACHE / "checkpoint.pt").exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load(saved["optimizer"])
        step, elapsed, chunk = saved["step"], saved["elapsed"], saved["chunk"] + 1
    forward = torch.compile(model, dynamic=False) if args.compile else model
    begin = saved_at = time.time()
    for chunk, batch in batches(bpe, barred, rank, chunk):
        clock = torch.tensor([time.time() - begin + elapsed, time.time() - saved_at])
        dist.broadcast(clock, 0)
        progress = clock[0].item() / (args.minutes * 60)
        if progress >= 1:
            break
        loss = train_step(model, forward, optimizer, batch, schedule(progress, step))
        step += 1
        if rank == 0 and step % 20 == 0:
            print(f"step {step} {progress:.1%} {clock[0]:.0f} s loss {loss:.4f} tokens {step * ROW * ROWS * WORKERS / 1e6:.2f} M", flush=True)
        if clock[1] > SAVE_EVERY_S:
            saved_at = time.time()
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state(), "step": step, "elapsed": clock[0].item(), "chunk": chunk}
                torch.save(state, path.with_suffix(".tmp"))
                path.with_suffix(".tmp").rename(path)
                write_gguf(model, bpe, CACHE / "snapshot.gguf")
    if rank == 0:
        torch.save({"model": model.state_dict(), "step": step}, CACHE / "final.pt")
        write_gguf(model, bpe, pathlib.Path(args.out))
    dist.destroy_process_group()


def schedule(progress, step):
    """Linear warm-up, a plateau, a linear decay to nothing."""
    return min(1.0, (step + 1) / 40, progress / WARMUP + 0.05, (1 - progress) / DECAY)


def train_step(model, forward, optimizer, batch, factor):
    ids, positions, numbers, weights = batch
    with torch.autocast("cpu", torch.bfloat16):
        logits = forward(ids[:, :-1].contiguous(), positions[:, :-1].contiguous(), numbers[:, :-1].contiguous())
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    (losses * weights).sum().div(weights.sum()).backward()
    grads = [p.grad for p in model.parameters()]
    all_reduce(grads)
    for g in grads:
        g.div_(WORKERS)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(factor)
    model.zero_grad(set_to_none=True)
    replies = weights == 1
    return (losses[replies].mean()).item()


# --- file ---


def write_gguf(model, bpe, path, quant=gguf.GGMLQuantizationType.Q8_0):
    """Quantized matrices, F32 norms, the names and keys of llama.cpp's qwen3."""
    w = gguf.GGUFWriter(str(path) + ".tmp", "qwen3")
    w.add_name("Sapwood Assistant")
    w.add_license("MIT OR Apache-2.0")
    w.add_description("Tiny assistant for apps: triage, extraction, short replies, rewriting. English.")
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
    w.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
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
    state = {k: torch.from_numpy(values[k.removesuffix(".weight") + ".weight"].copy()) for k in model.state_dict()}
    model.load_state_dict(state)
    field = lambda key: reader.get_field(key).contents()
    vocab = {t: i for i, t in enumerate(field("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    bpe = Tokenizer(models.BPE(vocab, merges))
    bpe.add_special_tokens([STOP, START, END])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    return model.eval(), bpe


# --- measurement ---


@torch.no_grad()
def exact(model, bpe, conversations, batch=32):
    """Whether greedy decoding gives the last answer exactly, per conversation of (user, assistant) turns.

    The greedy text equals the answer if and only if every token of it, the end token too, is the
    likeliest one after those before: one forward pass tells.
    """
    data = encode(bpe, [[(u, a, i + 1 == len(turns)) for i, (u, a) in enumerate(turns)] for turns in conversations])
    order, right = sorted(range(len(data)), key=lambda i: len(data[i][0])), [False] * len(data)
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        length = max(len(data[i][0]) for i in part)
        ids = torch.tensor([data[i][0] + [0] * (length - len(data[i][0])) for i in part])
        positions = torch.arange(length).expand(len(part), -1)
        best = model(ids, positions, torch.ones_like(ids)).argmax(-1)
        for row, i in enumerate(part):
            target = torch.tensor(data[i][1])[1:] == 1
            right[i] = bool((best[row, : len(target)][target] == ids[row, 1 : len(target) + 1][target]).all())
    return right


def measure(path, count=60):
    """Exact-match accuracy per task and category on held-out phrasings, and behind examples."""
    model, bpe = read_gguf(path)
    grammar, rng = Grammar(load_known()), Rng(SEED + 1_000_000)
    table = {}
    for group in grammar.groups:
        alone = [grammar.item(group, "heldout", rng) for _ in range(count)]
        peers = [g for g in grammar.groups if g["task"] == group["task"]]
        behind = []
        for item in alone:
            examples = [grammar.item(rng.pick(peers), "train", rng) for _ in range(3)]
            behind.append([e[-1] for e in examples if "before" not in group] + item)
        table[f"{group['task']} {group['category']}"] = [float(np.mean(exact(model, bpe, c))) for c in (alone, behind)]
    tasks = {}
    for name, row in table.items():
        tasks.setdefault(name.split()[0], []).append(row)
    return {"tasks": {t: np.mean(rows, 0).round(4).tolist() for t, rows in tasks.items()}, "groups": table}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", default=str(FILE))
    parser.add_argument("--measure", metavar="FILE")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler; about a fifth faster")
    parser.add_argument("--port", type=int, default=29517)
    args = parser.parse_args()
    if args.measure:
        result = measure(args.measure)
        for name, (alone, behind) in [*result["groups"].items(), *result["tasks"].items()]:
            print(f"{name:28} {alone:7.1%} {behind:7.1%}")
        return
    barred = forbidden()
    check_pool(stream(SEED, barred), barred)
    make_tokenizer(barred)
    torch.multiprocessing.spawn(worker, (args, barred), nprocs=WORKERS)
    print(json.dumps(measure(args.out)["tasks"]))


if __name__ == "__main__":
    main()
