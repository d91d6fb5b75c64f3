"""Does the embedded model learn a user? Before, with retrieved examples, and after a LoRA.

    python try_personalization.py [--seeds 1 2 3] [--steps 120] [--rate 0.003] ...

The same measurement as the demo's, without its runtime: a development check of the asset and of the
demo's hyper-parameters.
"""

import argparse
import math
import time
from collections import Counter

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
    """Nearest examples of a surface: Jaccard of token sets, each token counted by its IDF."""

    def __init__(self, items, bpe, least=0.1):
        self.items, self.bpe, self.least = [item for item in items if len(item) == 1], bpe, least
        self.bags = [self.bag(item[0][0]) for item in self.items]
        counts = Counter(token for bag in self.bags for token in bag)
        self.idf = lambda token: math.log((len(self.bags) + 1) / (counts[token] + 0.5))

    def bag(self, prompt):
        return frozenset(self.bpe.encode(prompt).ids)

    def before(self, item, count=3):
        """The item with its nearest examples in front, the nearest last; never itself."""
        if len(item) > 1:
            return item
        prompt, near = item[0][0], []
        surface, own = prompt.split(":")[0], self.bag(prompt)
        weigh = lambda bag: sum(map(self.idf, bag))
        for other, bag in zip(self.items, self.bags, strict=True):
            if other[0][0].split(":")[0] == surface and other[0][0] != prompt:
                near.append((weigh(own & bag) / weigh(own | bag), other[0]))
        near = sorted((n for n in near if n[0] >= self.least), key=lambda n: n[0])
        return [turn for _, turn in near[-count:]] + item


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
    kinds = list(user.preferences)
    known = lambda n, split: [user.known_item(OLD[i % len(OLD)], split, rng) for i in range(n)]
    new = [user.new_item("train", rng) for _ in range(args.new)]
    wanted = [user.preferred_item(kinds, "train", rng) for _ in range(args.wanted)]
    accepted = known(args.accepted, "train")
    tests = {
        "new": [user.new_item("heldout", rng) for _ in range(args.test)],
        "preferred": [user.preferred_item(kinds, "heldout", rng) for _ in range(args.test)],
        "old": known(args.test, "heldout"),
    }
    model, bpe = read_gguf(args.model)
    memory = Memory(new + wanted + accepted, bpe)

    def measure(retrieve):
        prepare = memory.before if retrieve else lambda item: item
        return {k: np.mean(exact(model, bpe, [*map(prepare, items)])) for k, items in tests.items()}

    print(f"seed {seed}: {', '.join(g['category'] for g in user.new)}", flush=True)
    table = {}

    def report(name, retrieve):
        table[name] = measure(retrieve)
        print(
            f"  {name:15}" + "".join(f" {k} {v:6.1%}" for k, v in table[name].items()), flush=True
        )

    report("base", False)
    report("base+examples", True)
    begin = time.time()
    pool = [(args.replay, accepted), ((1 - args.replay) / 2, new), ((1 - args.replay) / 2, wanted)]
    tokens, loss = train(model, bpe, pool, memory, args, rng)
    print(f"  {args.steps} steps, {tokens} tokens, {time.time() - begin:.0f} s, loss {loss:.3f}")
    report("after", False)
    report("after+examples", True)
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
    option("steps", 300, "optimizer steps")
    option("batch", 8, "conversations a step")
    option("new", 120, "the user's triages in new categories")
    option("wanted", 80, "corrected items of other surfaces")
    option("accepted", 120, "accepted items of known categories")
    option("replay", 0.3, "share of accepted items in a batch")
    option("with-examples", 0.5, "share of conversations trained behind retrieved examples")
    option("test", 80, "held-out items of each kind")
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
