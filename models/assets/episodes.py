"""Training conversations: items of the known grammar, alone or behind retrieved examples.

About half of the conversations start with one to three example turns, as the runtime's retrieval
memory will put them there. Many of these show what the model cannot know: invented topics with
invented labels, known topics under new labels, invented sign-offs, units, tones and JSON keys. The
answer then has to come from the examples; in the others it must not.
"""

from grammar import Rng

WORDS = """
anchor apple apron arch arrow atlas attic axle badger bagel ballet balcony bamboo banner barn
basil basket beacon beaver bench berry bishop blossom bolt bonfire boot border bracelet branch
brass bread breeze brick bridge broom brush bubble bucket buffalo bulb bunker butter button cabin
cactus camel canal candy canoe canvas canyon caravan carbon castle cave cedar cellar cello cement
ceramic chalk chapel cherry chess chimney cider cinema circle circus clay cliff clinic clock cloud
clover coach coal coast cobalt cocoa coconut coffee coin collar comet compass concert copper coral
cork cotton council cousin crab cradle crane crater cricket crown crystal cube curtain cushion
daisy dam dance deer dentist desert diamond dice dolphin donkey door dragon drawer drum duck dune
eagle easel echo elbow elephant engine envelope falcon farm feather fern ferry festival fiber
field fig fiddle film flag flame flask flood flour flute fog forest fork fossil fountain fox frame
frog frost fruit fungus galaxy game garden garlic gate ginger giraffe glacier glass globe goat
gold goose grain grape grass gravel guitar gull hammer harp hat hawk hazel hedge helmet herb heron
hill honey hook horse hotel ice igloo ink iron island ivory ivy jade jam jar jasmine jazz jelly
jewel jungle kite knife knot ladder lagoon lake lantern lava lawn leaf leather lemon lens lever
library lily lime lion lizard lobster lock lodge log lotus lunar machine magnet mango marble
market marsh mask meadow medal melon mercury metal mill mint mirror mole monkey moon moss moth
motor mountain mouse museum mushroom music nail nectar needle nest net noodle north nut oak oasis
ocean olive onion opal opera orange orbit orchard organ otter oven owl oyster paddle paint palace
palm panda paper parade pasta path peach peacock pearl pebble pencil pepper piano pigeon pilot
pine pirate planet plum pocket pond pony poppy porcelain potato pottery powder prism pump puppet
puzzle pyramid quartz queen quilt rabbit radar radio raft rain raven reef ribbon rice ring river
robin rocket roof root rose ruby rug saddle saffron sail salad salmon salt sand satin saturn sauce
school scooter sea seal seed shark sheep shell shield silk silver sketch sky slate sled smoke
snail soap soil solar soup spark spice spider spoon spring squirrel stable stadium stamp star
statue steam steel stone storm stove straw stream sugar summit sunset swan sword tango tea temple
tennis tent theatre thread thunder tiger timber toast tomato torch tower tractor train treasure
tree trophy truck tulip tunnel turtle umbrella valley vanilla vase velvet vessel vine violin
volcano voyage wagon walnut watch water wave wax whale wheat wheel whistle willow wind window wing
winter wizard wolf wood wool yacht yarn yogurt zebra zinc
""".split()
QUALITIES = """
amber ancient blue bold bright brown calm clean clever cold crisp curly dark deep dry dusty early
eager empty fair fast fine flat fresh gentle giant golden green grey hidden hollow huge humble icy
jolly keen large lazy light little lively loud lucky mellow mild misty modern narrow neat new
noble odd old pale plain polite proud pure purple quick quiet rapid rare red ripe rough round
royal rusty sharp shiny short silent simple slow small smooth soft solid spare steady steep strong
sweet tall thick thin tiny tidy warm white wide wild wise yellow young
""".split()
SYLLABLES = """
ba be bo da de di do fa fe fi ga go ja jo ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no nu
pa pe pi po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa we za ze zo zu
""".split()
ONSETS = """
b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc sh sk sl sp st str t th
tr v w wh y z
""".split()
VOWELS = """
a a e e i i o o u ai au ea ee ei ie oa oi oo ou
""".split()
ENDINGS = """
b ck ct d ft g ght ge ld ll m mer mp n nce nd ng ns nt p r rd rk rn rse rt ry s sh ss st t tch th
ve w x y
""".split()
CODAS = ["", "", "", "n", "r", "s", "l", "x", "t", "k", "m"]
# Ways to write about anything at all: `{x}` is an invented topic's thing.
ABOUT = """
Can someone help me with the {x}?
The {x} is {q}.
I need {n} more of the {x}.
My {x} went {q} last {day}.
what about the {x}
We bought a {x} in {city} and now it is {q}.
{name} wants to hear about the {x}.
Please tell me more about the {x}.
How often should I clean the {x}?
The {x} and the {x#2} do not match.
Is this {x} really {q}?
Since {date} our {x} has been {q}.
I am not sure which {x} to choose.
Give me the list with every {x}.
There are {n} people asking for the {x}.
The {x} does not fit.
Do I have to sign for the {x}?
Nobody told me that the {x} is {q}.
You mentioned a {x} in {month}.
The {x} made us all laugh.
We would rather have the {x#2} than the {x}.
please check the {x} before {time}
{name} left a {x} at the counter.
I dreamt of a {q} {x}.
Does the price include the {x}?
Last {day} we saw the {x}.
The {x} from {city} looks {q}.
I keep thinking about the {x}.
Why did the {x} turn {q}?
Hand the {x} over to {name}.
Our {x} is nowhere to be seen.
In {month} the {x} will be {q} again.
I saw a text on the {x}.
Whom do I ask about the {x}?
Could you make the {x} less {q}?
The {q} {x} is mine.
It took {n} hours to fix the {x}.
They say the {x} has to be {q}.
No {x} without a {x#2}!
Let me know once the {x} is there.
A {x} costs {n} euros in {city}.
I would swap my {x} for yours.
The colour of the {x} is {q}.
we ran out of {x} today
Everyone in {city} talks about the {x}.
Would you lend me the {x} until {day}?
How many {x} can one of us have?
Take the {x} to {name}, please.
Something smells like {x}.
Are you the one who deals with the {x}?
{name} and I share the {x}.
The new {x} beats the last one.
I'm afraid of the {x}.
Open the {x} at {time}.
Tomorrow the {x} must be {q}.
My question is about the {x#2} and the {x}.
""".strip().split("\n")


class Episodes:
    """A stream of conversations: lists of (user, assistant, learn) turns."""

    def __init__(self, grammar, seed, forbidden=frozenset()):
        self.grammar = grammar
        self.rng = Rng(seed)
        self.forbidden = forbidden
        self.words = [w for w in WORDS if w not in forbidden]
        self.qualities = [w for w in QUALITIES if w not in forbidden]
        self.tasks = {}
        for group in grammar.groups:
            self.tasks.setdefault(group["task"], []).append(group)
        self.labels = {g["category"] for g in self.tasks["triage"]}

    # --- inventions ---

    def coined(self):
        rng = self.rng
        if rng.chance(0.5):
            word = "".join(rng.pick(SYLLABLES) for _ in range(2 + rng.below(2))) + rng.pick(CODAS)
        else:
            parts = [rng.pick(ONSETS) + rng.pick(VOWELS) for _ in range(1 + rng.below(2))]
            word = "".join(parts) + rng.pick(ENDINGS)
        return self.coined() if word in self.forbidden else word

    def word(self):
        return self.coined() if self.rng.chance(0.45) else self.rng.pick(self.words)

    def label(self):
        kind = self.rng.below(4)
        if kind == 0:
            return f"{self.word()}-{self.word()}"
        return self.word() + ("s" if kind == 1 else "")

    def phrase(self, low, high):
        """A short invented phrase, capitalised and with an ending, for sign-offs and tones."""
        rng = self.rng
        pools = (
            self.words,
            self.qualities,
            ["the", "our", "your", "from", "and", "to", "with", "all", "is", "in"],
        )
        words = [
            self.coined() if rng.chance(0.35) else rng.pick(pools[rng.below(3)])
            for _ in range(low + rng.below(high - low + 1))
        ]
        if rng.chance(0.5):
            words[-1] = words[-1].capitalize()
        if len(words) > 1 and rng.chance(0.4):
            words[0] += ","
        text = " ".join(words)
        return text[0].upper() + text[1:] + rng.pick(["", "", ".", "!", "!"])

    def topic(self):
        """Things that belong together; half of the topics share a head word."""
        rng = self.rng
        head = self.word()
        things = []
        for _ in range(2 + rng.below(4)):
            kind = rng.below(6)
            if kind < 2:
                things.append(f"{head} {self.word()}")
            elif kind == 2:
                things.append(f"{self.word()} {head}")
            elif kind == 3:
                things.append(f"{rng.pick(self.qualities)} {self.word()}")
            else:
                things.append(self.word())
        return {"label": self.label(), "things": things}

    def about(self, topic, surface="Triage"):
        rng = self.rng
        text = self.sentence if rng.chance(0.25) else rng.pick(ABOUT)
        scope = self.courtesy() | {
            "{x}": rng.pick(topic["things"]),
            "{x#2}": rng.pick(topic["things"]),
            "{q}": rng.pick(self.qualities),
        }
        text = self.grammar.forms["triage"].replace("{text}", text)
        text = self.grammar.expand(text, scope, {}, rng)
        return self.noisy(surface + text[len("Triage") :])

    def overrides(self, preference):
        """Invented values for one kind of preference, as overrides of its lexicons."""
        rng = self.rng
        names = self.grammar.preferences[preference]
        if preference == "signoff":
            return {"signoff": self.phrase(2, 5)}
        if preference == "tone":
            opens, closes = self.phrase(1, 5), self.phrase(2, 6)
            if rng.chance(0.3):
                closes = opens
            return {n: opens if n.startswith("open") else closes for n in names if rng.chance(0.9)}
        if preference == "unit":
            zeros = rng.pick(["", "", "0", "00", "000"])
            return {
                n: zeros
                + " "
                + (self.coined()[: 1 + rng.below(6)] if rng.chance(0.6) else rng.pick(self.words))
                for n in names
            }
        chosen = {n: self.word() for n in names if n != "json.end" and rng.chance(0.5)}
        if rng.chance(0.5):
            value = rng.pick([f'"{self.word()}"', str(rng.below(100)), "true", "null"])
            chosen["json.end"] = f', "{self.word()}": {value}'
        return chosen

    # --- conversations ---

    def noisy(self, prompt):
        """A slip of the keyboard now and then; the instruction itself stays."""
        rng = self.rng
        head, _, text = prompt.partition(": ")
        if rng.chance(0.1):
            text = text.lower()
        if rng.chance(0.12) and len(text) > 8:
            i = 1 + rng.below(len(text) - 3)
            text = rng.pick(
                [
                    text[:i] + text[i + 1 :],
                    text[:i] + text[i + 1] + text[i] + text[i + 2 :],
                    text[:i] + text[i] + text[i:],
                ]
            )
        return f"{head}: {text}"

    def known(self, group, overrides={}, style=None):
        bound = self.courtesy() if group["task"] == "triage" else {}
        return self.grammar.item(group, "train", self.rng, overrides, style, bound)

    def courtesy(self):
        """Often the words around a message are those of the conversation's other messages, as in
        what retrieval finds: they must not decide."""
        return self.around if self.rng.chance(0.4) else {}

    def triage_known(self):
        group = self.rng.pick(self.tasks["triage"])
        ((prompt, answer),) = self.known(group)
        return self.noisy(prompt), answer

    def triage(self):
        rng = self.rng
        expand = self.grammar.expand
        self.around = {slot: expand(slot, {}, {}, rng) for slot in ("{pre}", "{post}")}
        self.sentence = rng.pick(ABOUT)
        if rng.chance(0.38):
            if rng.chance(0.1):
                return [(self.about(self.topic()), "other", True)]
            return [(*self.triage_known(), True)]
        count = rng.pick([1, 2, 2, 3, 3, 3])
        kind = rng.next() / 2.0**64
        if kind < 0.45:  # an invented topic; some examples may be of other topics
            surface = self.word().capitalize() if rng.chance(0.1) else "Triage"
            topic = self.topic()
            same = lambda: (self.about(topic, surface), topic["label"])
        elif kind < 0.6:  # a known topic under a new label
            surface, group, label = "Triage", rng.pick(self.tasks["triage"]), self.label()
            same = lambda: (self.noisy(self.known(group)[0][0]), label)
        elif kind < 0.95:  # a known topic; the examples must not mislead
            surface, group = "Triage", rng.pick(self.tasks["triage"])
            same = lambda: (self.noisy(self.known(group)[0][0]), group["answer"])
        else:  # a new topic, and no example of it
            return self.with_examples(
                [self.other_example("Triage") for _ in range(count)],
                (self.about(self.topic()), "other"),
            )
        must = rng.below(count) if kind < 0.6 else -1
        examples = [
            same() if i == must or rng.chance(0.45) else self.other_example(surface)
            for i in range(count)
        ]
        return self.with_examples(examples, same())

    def other_example(self, surface):
        if surface != "Triage" or self.rng.chance(0.5):
            topic = self.topic()
            return self.about(topic, surface), topic["label"]
        return self.triage_known()

    def with_examples(self, examples, last):
        """Invented labels are learnt from the second time on: the first cannot be foreseen."""
        seen = set(self.labels)
        turns = []
        for prompt, answer in examples:
            turns.append((prompt, answer, answer in seen))
            seen.add(answer)
        return [*turns, (*last, True)]

    def surface(self, task):
        """Items of the other surfaces, alone or behind examples, often in an invented manner."""
        rng = self.rng
        group = rng.pick(self.tasks[task])
        style = rng.pick(sorted(group["answers"])) if "answers" in group else None
        if rng.chance(0.45) or task == "follow":
            overrides = (
                self.overrides(rng.pick(["signoff", "json"]))
                if task == "follow" and rng.chance(0.4)
                else {}
            )
            turns = self.known(group, overrides, style)
            return [(*turn, not overrides or i + 1 == len(turns)) for i, turn in enumerate(turns)]
        kinds = {
            "reply": [["signoff"], ["tone"], ["signoff", "tone"]],
            "extract": [["json"]],
            "note": [["unit"]],
        }.get(task)
        overrides = {}
        if kinds and rng.chance(0.7):
            for kind in rng.pick(kinds):
                overrides |= self.overrides(kind)
        count = rng.pick([1, 2, 2, 3, 3, 3])
        must = rng.below(count)
        turns = []
        for i in range(count):
            usual = i != must and rng.chance(0.15)
            near = i == must or rng.chance(0.5)
            other = group if near else rng.pick(self.tasks[task])
            manner = style if near else None
            (turn,) = self.known(other, {} if usual else overrides, manner)
            turns.append((*turn, not overrides))
        (turn,) = self.known(group, overrides, style)
        return [*turns, (*turn, True)]

    def next(self):
        r = self.rng.next() / 2.0**64
        for share, task in (
            (0.15, "extract"),
            (0.17, "reply"),
            (0.1, "note"),
            (0.06, "rewrite"),
            (0.05, "follow"),
        ):
            if r < share:
                return self.surface(task)
            r -= share
        return self.triage()
