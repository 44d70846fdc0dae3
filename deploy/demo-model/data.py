"""Single questions and answers of every task the demo model learns, split into taught and held-out ones.

A split never depends on the seed: what is held out follows from the content itself (`held_out`).
Dialogues are put together from these pieces in dialogues.py.
"""
import gzip
import zlib
from pathlib import Path

import regex

from countries import CAPITALS
from phrases import (CITIES, KEYS, NAMES, SMALL_TALK, THINGS, UNKNOWN_ANSWER, UNKNOWN_HELD_OUT, UNKNOWN_TRAIN,
                     VERSE_REQUESTS)

CAPITAL_WORDINGS = (
    "What is the capital of {c}?", "What's the capital of {c}?", "Which city is the capital of {c}?",
    "Name the capital of {c}.", "Tell me the capital of {c}.", "What is the capital city of {c}?",
    "Do you know the capital of {c}?", "Give me the capital of {c}.", "I need the capital of {c}, please.",
    "Please tell me the capital of {c}.",
)
ADD_WORDINGS = ("What is {a} + {b}?", "What is {a} plus {b}?", "Calculate {a} + {b}.", "How much is {a} + {b}?",
                "Add {a} and {b}.", "{a} + {b} = ?", "What's {a} + {b}?", "What is {a}+{b}?", "{a}+{b}")
SUB_WORDINGS = ("What is {a} - {b}?", "What is {a} minus {b}?", "Calculate {a} - {b}.", "How much is {a} - {b}?",
                "Subtract {b} from {a}.", "{a} - {b} = ?", "What's {a} - {b}?", "What is {a}-{b}?", "{a}-{b}")
REVERSE_WORDINGS = ('Reverse the word "{w}".', 'Write "{w}" backwards.', 'Spell "{w}" backwards.',
                    'What is "{w}" reversed?', 'Reverse "{w}".')
COPY_WORDINGS = ('Repeat the word "{w}".', 'Repeat "{w}".', 'Say "{w}".', 'Copy this: "{w}"', 'Repeat after me: "{w}"')
CODE_LINES = ("The code for {k} is {v}.", "Code of {k}: {v}")
CODE_QUESTIONS = ("What is the code for {k}?", "Tell me the code for {k}.", "Which code belongs to {k}?")
CODE_ANSWER = "The code for {k} is {v}."

# kind of fact: how it is told, how it is acknowledged, how it is asked, how it is answered
FACTS = {
    "name": (("My name is {x}.", "I am {x}.", "Hello, my name is {x}.", "Call me {x}.", "Hi, I am {x}."),
             "Nice to meet you, {x}.",
             ("What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name."),
             "Your name is {x}."),
    "friend": (("My friend is called {x}.", "My friend's name is {x}.", "I have a friend called {x}."),
               "I will remember {x}.",
               ("What is my friend's name?", "What is my friend called?", "Who is my friend?"),
               "Your friend is called {x}."),
    "city": (("I live in {x}.", "My home is in {x}.", "I come from {x}."), "I will remember {x}.",
             ("Where do I live?", "Where is my home?", "Where do I come from?"), "You live in {x}."),
}


def held_out(kind, content, percent):
    return zlib.crc32(f"{kind}:{content}".encode()) % 100 < percent


def corpus():
    """(training, held-out) parts of the Shakespeare text; the last 5 % is held out."""
    text = gzip.decompress((Path(__file__).parent / "shakespeare.txt.gz").read_bytes()).decode()
    cut = text.index("\n\n", int(len(text) * 0.95)) + 2
    return text[:cut], text[cut:]


class Taught:
    """All material in one split: `taught=True` for training, `False` for what is never trained on."""

    def __init__(self, taught=True):
        keep = lambda kind, content, percent: held_out(kind, content, percent) != taught
        parts = corpus()
        self.taught, text = taught, parts[0] if taught else parts[1]
        words = sorted({w for w in regex.findall(r"\b[a-z]{3,15}\b", parts[0] + parts[1])} - {"user", "assistant",
                                                                                         "system"})
        self.words = [w for w in words if keep("word", w, 12)]
        self.names = [n for n in NAMES if keep("name", n, 15)]
        self.cities = [c for c in CITIES if keep("city", c, 15)]
        self.lines = [line for line in text.splitlines() if len(line) > 15 and not line.endswith(":")]
        self.speeches = [s for s in text.split("\n\n") if 40 < len(s) < 500]
        self.capitals = [(w, c, a) for w in CAPITAL_WORDINGS for c, a in CAPITALS if keep("capital", w + c, 20)]
        # a pair and its mirror image are held out together
        pairs = [(a, b) for a in range(100) for b in range(100)]
        held = lambda op, a, b: keep("sum", f"{op}{min(a, b)},{max(a, b)}", 15)
        self.sums = {op: [p for p in pairs if held(op, *p)] for op in "+-"}
        self.unknown = UNKNOWN_TRAIN if taught else UNKNOWN_HELD_OUT

    def capital(self, rng):
        wording, country, city = rng.choice(self.capitals)
        return wording.format(c=country), f"The capital of {country} is {city}."

    def arithmetic(self, rng):
        op = rng.choice("+-")
        a, b = rng.choice(self.sums[op])
        if a < 10 and b < 10 and rng.random() < 0.5:
            a, b = rng.choice(self.sums[op])
        return sum_exchange(op, a, b, rng)

    def word(self, rng):
        if self.taught and rng.random() < 0.35:
            word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 16)))
            return word.capitalize() if rng.random() < 0.2 else word
        return rng.choice(self.words)

    def reverse(self, rng):
        w = self.word(rng)
        return rng.choice(REVERSE_WORDINGS).format(w=w), w[::-1]

    def copy(self, rng):
        text = " ".join(self.word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        return rng.choice(COPY_WORDINGS).format(w=text), text

    def small_talk(self, rng):
        questions, answer = rng.choice(SMALL_TALK)
        return rng.choice(questions), answer

    def unknown_question(self, rng):
        roll = rng.random()
        if roll < 0.2:
            place = invented_name(rng)
            return rng.choice(CAPITAL_WORDINGS).format(c=place), UNKNOWN_ANSWER
        question = rng.choice(self.unknown).format(
            x=rng.choice(THINGS), c=rng.choice(CAPITALS)[0], n=self.person(rng),
            a=rng.randint(10, 99), b=rng.randint(10, 99), h=rng.randint(100, 999))
        return question, UNKNOWN_ANSWER

    def verse(self, rng):
        """A request and one or more speeches in a row, about 400 characters."""
        at = rng.randrange(len(self.speeches))
        text = self.speeches[at].strip()
        while len(text) < 300 and at + 1 < len(self.speeches):
            at += 1
            text += "\n\n" + self.speeches[at].strip()
        return rng.choice(VERSE_REQUESTS), text

    def person(self, rng):
        return invented_name(rng) if self.taught and rng.random() < 0.5 else rng.choice(self.names)

    def fact(self, kind, rng):
        """(told, acknowledgement, question, answer) of one remembered fact."""
        told, reply, asked, answer = FACTS[kind]
        if kind == "city":
            x = invented_name(rng) if self.taught and rng.random() < 0.5 else rng.choice(self.cities)
        else:
            x = self.person(rng)
        if self.taught and rng.random() < 0.05:
            x = x.lower()
            return rng.choice(told).format(x=x).lower(), reply.format(x=x), rng.choice(asked), answer.format(x=x)
        return rng.choice(told).format(x=x), reply.format(x=x), rng.choice(asked), answer.format(x=x)


def casual(question, rng):
    """Now and then a question as hurried people type it."""
    roll = rng.random()
    if roll < 0.10:
        return question.lower().rstrip("?.") if roll < 0.05 else question.lower()
    return question


def sum_exchange(op, a, b, rng):
    wording = rng.choice(ADD_WORDINGS if op == "+" else SUB_WORDINGS)
    return wording.format(a=a, b=b), str(a + b if op == "+" else a - b)


def invented_name(rng):
    """A name-like word with any first letter; some are plain random letters, so that copying needs no familiarity."""
    if rng.random() < 0.3:
        name = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 8)))
    else:
        first = rng.choice(("b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "qu", "r", "s", "t", "v", "w",
                            "x", "y", "z", "th", "sh", "br", "st", ""))
        ends = ("a", "e", "i", "o", "u", "an", "el", "in", "or", "us", "ay", "inn", "ah", "ette", "ard", "eo", "ia")
        middle = ("b", "d", "ff", "g", "k", "l", "ll", "m", "n", "nn", "p", "r", "rr", "s", "t", "v", "x", "z")
        name = first + "".join(rng.choice(ends) + rng.choice(middle) for _ in range(rng.choice((0, 1, 1, 2))))
        name += rng.choice(ends)
    return name.capitalize()


def code_pairs(rng, count, keys=KEYS, digits=4):
    """`count` distinct keys with their codes."""
    return [(k, "".join(rng.choice("0123456789") for _ in range(digits))) for k in rng.sample(keys, count)]


def code_line(pair, style):
    return CODE_LINES[style].format(k=pair[0], v=pair[1])
