"""Does the embedded model learn a user? Before, with retrieved examples, and after a LoRA.

    python try_personalization.py [--seeds 1 2 3] [--steps 120] [--rate 0.003] ...

The same measurement as the demo's, without its runtime: a development check of the asset and of the
demo's hyper-parameters.
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grammar import Rng, User
from network import FILE, encode, exact, read_gguf

OLD = ("triage", "triage", "rewrite", "follow")


class Lora(nn.Module):
    """A frozen linear layer plus a low-rank pair; `b` starts at zero."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.weight, self.scale = base.weight.requires_grad_(False), alpha / rank
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return F.linear(x, self.weight) + self.scale * F.linear(F.linear(x, self.a), self.b)


def add_lora(model, rank, alpha):
    for p in model.parameters():
        p.requires_grad_(False)
    for block in model.blk:
        for name, layer in list(block.named_children()):
            setattr(block, name, Lora(layer, rank, alpha))
    return [p for p in model.parameters() if p.requires_grad]


class Memory:
    """Nearest examples of the same surface by cosine of hashed character trigrams and words."""

    def __init__(self, items):
        self.items = [item for item in items if len(item) == 1]
        self.surfaces = [i[0][0].split(":")[0] for i in self.items]
        counts = np.stack([self.features(i[0][0]) for i in self.items])
        self.idf = np.log((1 + len(counts)) / (1 + (counts > 0).sum(0)))
        self.rows = self.unit(counts)

    @staticmethod
    def features(prompt):
        text, row = " " + prompt.lower().split(": ", 1)[-1] + " ", np.zeros(4096, np.float32)
        for gram in [text[i : i + 3] for i in range(len(text) - 2)] + text.split() * 2:
            h = 0xCBF29CE484222325
            for byte in gram.encode():
                h = ((h ^ byte) * 0x100000001B3) & (1 << 64) - 1
            row[h % 4096] += 1
        return row

    def unit(self, counts):
        rows = np.sqrt(counts) * self.idf
        return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)

    def before(self, item, count=3):
        """The item with its nearest examples in front, the nearest last; never the item itself."""
        if len(item) > 1:
            return item
        prompt = item[0][0]
        near = self.rows @ self.unit(self.features(prompt))
        order = [
            i
            for i in np.argsort(-near)
            if self.surfaces[i] == prompt.split(":")[0] and self.items[i][0][0] != prompt
        ]
        return [self.items[i][0] for i in reversed(order[:count])] + item


def train(model, bpe, pool, memory, args, rng):
    """`pool`: (weight, items) pairs to draw from. Returns tokens seen and the last tenth's loss."""
    params = add_lora(model, args.rank, args.alpha)
    adam = torch.optim.AdamW(params, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    tokens, losses, rows = 0, [], [[*items] for _, items in pool]
    shares = np.cumsum([weight for weight, _ in pool])
    for step in range(args.steps):
        picked = []
        for _ in range(args.batch):
            items = rows[int(np.searchsorted(shares, rng.next() / 2.0**64 * shares[-1]))]
            item = rng.pick(items)
            picked.append(
                memory.before(item, 1 + rng.below(3)) if rng.chance(args.with_examples) else item
            )
        data = encode(
            bpe, [[(u, a, i + 1 == len(t)) for i, (u, a) in enumerate(t)] for t in picked]
        )
        length = max(len(ids) for ids, _ in data)
        tokens += sum(len(ids) for ids, _ in data)
        ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in data])
        target = torch.tensor([w + [0.0] * (length - len(w)) for _, w in data]) == 1
        logits = model(ids, torch.arange(length).expand_as(ids), torch.ones_like(ids))
        loss = F.cross_entropy(logits[:, :-1][target[:, 1:]], ids[:, 1:][target[:, 1:]])
        for group in adam.param_groups:
            group["lr"] = args.rate * min(
                1.0, (step + 1) / 10, 2 * (args.steps - step) / args.steps
            )
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()
        losses.append(loss.item())
    return tokens, float(np.mean(losses[-max(1, args.steps // 10) :]))


def run(seed, args):
    torch.manual_seed(seed)
    user, rng = User(seed), Rng(1000 + seed)
    known = lambda n, split: [user.known_item(OLD[i % len(OLD)], split, rng) for i in range(n)]
    new = [user.new_item("train", rng) for _ in range(args.new)]
    wanted = [
        user.preferred_item([k], "train", rng) for k in user.preferences for _ in range(args.wanted)
    ]
    accepted = known(args.accepted, "train")
    tests = {"new": [user.new_item("heldout", rng) for _ in range(args.test)]}
    tests |= {
        k: [user.preferred_item([k], "heldout", rng) for _ in range(args.test // 2)]
        for k in user.preferences
    }
    tests["old"] = known(args.test * 2, "heldout")
    model, bpe = read_gguf(args.model)
    memory = Memory(new + wanted + accepted)
    measure = lambda retrieve: {
        k: float(np.mean(exact(model, bpe, [memory.before(i) if retrieve else i for i in items])))
        for k, items in tests.items()
    }
    table = {"base": measure(False), "base+examples": measure(True)}
    begin = time.time()
    pool = [(1 - args.replay, new + wanted), (args.replay, accepted)]
    tokens, loss = train(model, bpe, pool, memory, args, rng)
    seconds = time.time() - begin
    table |= {"after": measure(False), "after+examples": measure(True)}
    print(f"seed {seed}: {', '.join(g['category'] for g in user.new)}")
    print(f"  {args.steps} steps, {tokens} tokens, {seconds:.0f} s, loss {loss:.3f}")
    for name, row in table.items():
        print(f"  {name:15}" + "".join(f" {k} {v:6.1%}" for k, v in row.items()), flush=True)
    return table


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = lambda name, default, help: parser.add_argument(
        f"--{name}", type=type(default), default=default, help=help
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    option("model", str(FILE), "the quantized file")
    option("rank", 8, "of the LoRA")
    option("alpha", 16.0, "of the LoRA")
    option("rate", 3e-3, "peak learning rate")
    option("steps", 150, "optimizer steps")
    option("batch", 8, "conversations a step")
    option("new", 64, "the user's triages in new categories")
    option("wanted", 12, "corrected items per preference")
    option("accepted", 64, "accepted items of known categories")
    option("replay", 0.3, "share of accepted items in a batch")
    option("with-examples", 0.5, "share of conversations trained behind retrieved examples")
    option("test", 80, "held-out items of new categories")
    option("threads", 1, "")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tables = [run(seed, args) for seed in args.seeds]
    print("mean")
    for name in tables[0]:
        print(
            f"  {name:15}"
            + "".join(f" {k} {np.mean([t[name][k] for t in tables]):6.1%}" for k in tables[0][name])
        )


if __name__ == "__main__":
    main()
