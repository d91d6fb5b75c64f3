"""Expands the grammars `known.json` and the demo's `pool.json`; the demo has a twin, `grammar.rs`.

A template is text with slots: `{name}` draws an entry of the lexicon `name` once per item, so every
`{name}` of that item is the same; `{name#2}` is a second, independent draw. An entry may hold slots
itself; they are drawn anew for that entry. A brace that opens no slot is plain text. An override
replaces a lexicon by one value: a user's preference (a sign-off, a unit, a key) is nothing else.
"""

import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
POOL = HERE.parents[1] / "bindings/cli/src/demo/pool.json"
SLOT = re.compile(r"\{([a-z][a-z.]*)(#[0-9]+)?\}")
MASK = (1 << 64) - 1


class Rng:
    """SplitMix64 (Steele, Lea, Flood 2014), as in the demo: the same seed, the same items."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return (self.next() * n) >> 64

    def pick(self, items):
        return items[self.below(len(items))]

    def chance(self, probability):
        return self.next() < probability * 2.0**64

    def sample(self, items, k):
        """`k` distinct entries, in random order (partial Fisher-Yates)."""
        items = list(items)
        for i in range(k):
            j = i + self.below(len(items) - i)
            items[i], items[j] = items[j], items[i]
        return items[:k]


class Grammar:
    """Lexicons, prompt forms and groups of items with training and held-out phrasings."""

    def __init__(self, known, pool=None):
        self.forms = known["forms"]
        self.preferences = known["preferences"]
        self.lexicons = dict(known["lexicons"])
        self.groups = known["groups"]
        if pool:
            self.lexicons.update(pool["lexicons"])

    def expand(self, template, scope, overrides, rng):
        def slot(match):
            key = match.group(0)
            if key not in scope:
                name = match.group(1)
                if name in overrides:
                    scope[key] = overrides[name]
                else:
                    entry = rng.pick(self.lexicons[name])
                    scope[key] = self.expand(entry, {}, overrides, rng) if "{" in entry else entry
            return scope[key]

        return SLOT.sub(slot, template)

    def item(self, group, split, rng, overrides={}, style=None, bound={}):
        """One item of a group as (user, assistant) turns; the last is the item itself.

        `bound` holds slots that are not drawn.
        """
        if style is None:
            style = rng.pick(styles(group))
        form = self.forms[group["task"]]
        prompt = form.replace("{style}", style).replace("{text}", rng.pick(phrasings(group, split)))
        scope = dict(bound)
        turns = [*group.get("before", []), [prompt, answer(group, style)]]
        return [tuple(self.expand(text, scope, overrides, rng) for text in turn) for turn in turns]


class User:
    """The demo's simulated user of a seed; every draw is the one of `User` in `grammar.rs`."""

    def __init__(self, seed):
        known, pool, rng = load_known(), load_pool(), Rng(seed)
        self.grammar = Grammar(known, pool)
        self.known = known["groups"]
        self.new = rng.sample(pool["categories"], pool["pick"]["categories"])
        self.name = rng.pick(pool["users"])
        self.preferences = {
            kind: rng.pick(choices) for kind, choices in sorted(pool["preferences"].items())
        }

    def new_item(self, split, rng):
        group = rng.pick(self.new)
        rng.below(1)  # its one style
        return self.grammar.item(group, split, rng, {}, "")

    def known_item(self, task, split, rng):
        group = rng.pick([g for g in self.known if g["task"] == task])
        return self.grammar.item(group, split, rng, {}, rng.pick(styles(group)))

    def preferred_item(self, kinds, split, rng):
        overrides = {
            k: v
            for kind in self.preferences
            if kind in kinds
            for k, v in self.preferences[kind].items()
        }
        touched = lambda g: [
            s for s in styles(g) if any(f"{{{name}}}" in answer(g, s) for name in overrides)
        ]
        groups = [(g, touched(g)) for g in self.known if "before" not in g]
        group, names = rng.pick([(g, names) for g, names in groups if names])
        return self.grammar.item(group, split, rng, overrides, rng.pick(names))


def phrasings(group, split):
    """The demo measures on every second held-out phrasing; the others go to its anchors."""
    return group["heldout"][::2] if split == "measured" else group[split]


def styles(group):
    return sorted(group.get("answers", [""]))


def answer(group, style):
    return group["answers"][style] if style else group["answer"]


def load_known():
    return json.loads((HERE / "known.json").read_text())


def load_pool():
    return json.loads(POOL.read_text())


def digest(seed):
    """FNV-1a over many items of a user: the demo's test holds the same numbers."""
    user, rng, h = User(seed), Rng(seed + 1), 0xCBF29CE484222325
    for _ in range(300):
        for split in ("train", "measured"):
            items = [user.new_item(split, rng), user.preferred_item(user.preferences, split, rng)]
            items += [
                user.known_item(t, split, rng)
                for t in ("extract", "follow", "note", "reply", "rewrite", "triage")
            ]
            for byte in (
                b for item in items for turn in item for text in turn for b in text.encode()
            ):
                h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


if __name__ == "__main__":
    for seed in (1, 2, 3):
        print(f"({seed}, {digest(seed):#018x}),")
