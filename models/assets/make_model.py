"""Makes the embedded model: text, tokenizer, training, quantization, measurement.

    pip install torch numpy gguf tokenizers
    python make_model.py --minutes 60        # two cores; a killed run goes on from its checkpoint
    python make_model.py --measure FILE      # accuracy of a quantized file on held-out phrasings

Everything random is seeded; the learning-rate schedule follows the clock (`--minutes`), so two runs
on machines of different speed give models that differ, not equal files. Delete the cache folder
(`SAPWOOD_ASSET_CACHE`, by default ~/.cache/sapwood/asset) to start afresh.
"""

import argparse
import json
import os
import pathlib
import re
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from episodes import ABOUT, Episodes
from grammar import Grammar, Rng, load_known, load_pool
from network import (
    END,
    FILE,
    START,
    STOP,
    VOCAB,
    Assistant,
    byte_level,
    encode,
    exact,
    read_gguf,
    write_gguf,
)

# Training.
SEED, WORKERS = 1, 2
ROW, ROWS = 512, 8  # tokens per packed row, rows per worker and step
CHUNK = 6000  # conversations generated at a time
MATRIX_LR, VECTOR_LR, WARMUP, DECAY = 0.02, 3e-3, 0.02, 0.6
SAVE_EVERY_S = 240
# Words of the pool's sign-offs and tones that any English text has.
HARMLESS = {"all", "your", "from", "over"}

CACHE = pathlib.Path(
    os.environ.get("SAPWOOD_ASSET_CACHE", pathlib.Path.home() / ".cache/sapwood/asset")
)

# --- text ---


def forbidden():
    """The pool's own words: none of them may occur in the training text."""
    known, pool = load_known(), load_pool()
    words = lambda value: set(
        re.findall(r"[a-z]{3,}", re.sub(r"\{[^}]*\}", " ", json.dumps(value)).lower())
    )
    ours = {k: known[k] for k in ("forms", "groups")} | {
        "lexicons": list(known["lexicons"].values())
    }
    theirs = [[g["category"] for g in pool["categories"]], list(pool["lexicons"].values())]
    theirs += [
        list(choice.values()) for choices in pool["preferences"].values() for choice in choices
    ]
    return words(theirs) - words(ours) - HARMLESS


def stream(seed, barred):
    return Episodes(Grammar(load_known()), seed, barred)


def check_pool(episodes, barred, count=20_000):
    """Fails if the training text holds a word, a phrasing or a preference of the demo's pool."""
    pool, known = load_pool(), load_known()
    text = [t for _ in range(count) for turn in episodes.next() for t in turn[:2]]
    found = barred & set(re.findall(r"[a-z]{3,}", "\n".join(text).lower()))
    assert not found, f"the pool's words are in the training text: {sorted(found)}"
    shapes = [
        re.sub(r"\{[^}]*\}", "", p).lower()
        for g in pool["categories"]
        for s in ("train", "heldout")
        for p in g[s]
    ]
    ours = {re.sub(r"\{[^}]*\}", "", p).lower() for p in ABOUT}
    ours |= {re.sub(r"\{[^}]*\}", "", p).lower() for g in known["groups"] for p in g["train"]}
    assert not ours & set(shapes), (
        f"phrasings of the pool are in the training text: {ours & set(shapes)}"
    )


def make_tokenizer(barred):
    path = CACHE / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    bpe = byte_level(models.BPE())
    episodes = stream(SEED, barred)
    texts = (
        text
        for _ in range(40_000)
        for turn in episodes.next()
        for text in ("user\n", "assistant\n", *turn[:2])
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[STOP, START, END],
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    assert bpe.get_vocab_size() == VOCAB
    CACHE.mkdir(parents=True, exist_ok=True)
    bpe.save(str(path))
    return bpe


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
        self.matrices = [
            p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blk")
        ]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and n.startswith("blk"))]
        self.adam = torch.optim.AdamW(rest, lr=VECTOR_LR, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, factor):
        updates = [torch.zeros_like(p) for p in self.matrices]
        for i, (p, m) in enumerate(zip(self.matrices, self.momenta, strict=True)):
            m.lerp_(p.grad, 0.05)
            if i % WORKERS == self.rank:
                updates[i] = (
                    orthogonalize(p.grad.lerp(m, 0.95)) * max(1, p.shape[0] / p.shape[1]) ** 0.5
                )
        all_reduce(updates)
        for p, update in zip(self.matrices, updates, strict=True):
            p.data.mul_(1 - MATRIX_LR * factor * 0.02).sub_(update, alpha=MATRIX_LR * factor)
        for group in self.adam.param_groups:
            group["lr"] = VECTOR_LR * factor
        self.adam.step()

    def state(self):
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load(self, state):
        for m, saved in zip(self.momenta, state["momenta"], strict=True):
            m.copy_(saved)
        self.adam.load_state_dict(state["adam"])


def all_reduce(tensors):
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        t.copy_(part.view_as(t))


def batches(bpe, barred, rank, start):
    """Endless micro-batches of this worker from chunk `start` on, each with its chunk's number."""
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
    for number, batch in batches(bpe, barred, rank, chunk):
        clock = torch.tensor([time.time() - begin + elapsed, time.time() - saved_at])
        dist.broadcast(clock, 0)
        progress = clock[0].item() / (args.minutes * 60)
        if progress >= 1:
            break
        loss = train_step(model, forward, optimizer, batch, schedule(progress, step))
        step += 1
        if rank == 0 and step % 20 == 0:
            seen = step * ROW * ROWS * WORKERS / 1e6
            print(f"{progress:.1%}: step {step}, {seen:.2f} M tokens, loss {loss:.3f}", flush=True)
        if clock[1] > SAVE_EVERY_S:
            saved_at = time.time()
            if rank == 0:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state(),
                    "step": step,
                    "elapsed": clock[0].item(),
                    "chunk": number,
                }
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
        logits = forward(
            ids[:, :-1].contiguous(), positions[:, :-1].contiguous(), numbers[:, :-1].contiguous()
        )
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


# --- measurement ---


def measure(path, count):
    """Exact-match accuracy per task and category on `count` held-out items of each group:
    alone, and behind three examples of random groups of the same task."""
    torch.set_num_threads(1)
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
        table[f"{group['task']} {group['category']}"] = [
            float(np.mean(exact(model, bpe, c))) for c in (alone, behind)
        ]
    tasks = {}
    for name, row in table.items():
        tasks.setdefault(name.split()[0], []).append(row)
    return {
        "tasks": {t: np.mean(rows, 0).round(4).tolist() for t, rows in tasks.items()},
        "groups": table,
    }


def print_table(result):
    print("| items | alone | behind 3 examples |\n|---|---|---|")
    for name, (alone, behind) in [*result["groups"].items(), *result["tasks"].items()]:
        print(f"| {name} | {alone:.1%} | {behind:.1%} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", default=str(FILE))
    parser.add_argument("--measure", metavar="FILE")
    parser.add_argument(
        "--count", type=int, default=50, help="held-out items per group to measure on"
    )
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler; about a fifth faster"
    )
    parser.add_argument("--port", type=int, default=29517)
    args = parser.parse_args()
    if args.measure:
        print_table(measure(args.measure, args.count))
        return
    barred = forbidden()
    check_pool(stream(SEED, barred), barred)
    make_tokenizer(barred)
    torch.multiprocessing.spawn(worker, (args, barred), nprocs=WORKERS)
    print_table(measure(args.out, args.count))


if __name__ == "__main__":
    main()
