"""Puts tasks together into token rows for training: short mixed dialogues and long ones with codes to look up.

A batch follows from (seed, batch number) alone, so a run can be repeated with any number of workers.
"""
import random

import numpy as np
import torch

from data import CODE_ANSWER, CODE_QUESTIONS, FACTS, Taught, casual, code_line, code_pairs
from phrases import KEYS, SYSTEM_MESSAGES, UNKNOWN_ANSWER
from tokenizer import BOS, IM_END, IM_START, PAD

# kind of batch: rows, tokens per row, room for answer tokens in the loss
SHAPES = {"short": (256, 256, 20480), "middle": (96, 704, 10240), "long": (32, 2112, 4608)}
VERSE_SHARE = 0.008
MISSING_SHARE = 0.15
MAX_KEYS = len(KEYS) - 15
DENSITIES = (1.0, 1.0, 0.5, 0.2, 0.08)
INTROS = ("", "Remember these codes.\n", "Here are some codes.\n", "Read this.\n")


class Row:
    """A growing dialogue: token ids and the positions whose next token is learned."""

    def __init__(self, encoder, room):
        self.encoder, self.room = encoder, room
        self.ids, self.positions = [BOS], []
        self.newline = encoder.encode("\n")
        self.head = {role: [IM_START, *encoder.encode(role + "\n")] for role in ("user", "assistant", "system")}

    def left(self):
        return self.room - len(self.ids)

    def add_ids(self, role, content):
        self.ids += self.head[role]
        self.ids += content
        self.ids.append(IM_END)
        self.ids += self.newline

    def add(self, question, answer):
        """Appends one exchange if it fits; `question` may be text or token ids."""
        asked = self.encoder.encode(question) if isinstance(question, str) else question
        said = self.encoder.encode(answer)
        needed = len(asked) + len(said) + 2 * len(self.newline) + len(self.head["user"]) + len(self.head["assistant"])
        if needed + 2 > self.left():
            return False
        self.add_ids("user", asked)
        start = len(self.ids) + len(self.head["assistant"]) - 1
        self.add_ids("assistant", said)
        self.positions += range(start, start + len(said) + 1)
        return True


class Memory:
    """What the user has told in one dialogue, and exchanges about it."""

    def __init__(self, taught, rng):
        self.taught, self.rng = taught, rng
        self.facts, self.codes = {}, {}
        # mostly codes of four digits for the usual keys, so that the vocabulary's whole words are common
        usual = rng.random() < 0.8
        self.keys = KEYS if usual else rng.sample(taught.words, len(KEYS))
        self.digits = 4 if usual else rng.choice((3, 4, 4, 5, 6))

    def tell(self):
        kind = self.rng.choice([k for k in ("name", "name", "friend", "city") if k not in self.facts])
        told, reply, _, answer = self.taught.fact(kind, self.rng)
        self.facts[kind] = answer
        if self.rng.random() < 0.1:  # told and asked in one message
            return f"{told} {self.rng.choice(FACTS[kind][2])}", answer
        return told, reply

    def ask(self):
        kind = self.rng.choice(sorted(self.facts))
        return casual(self.rng.choice(FACTS[kind][2]), self.rng), self.facts[kind]

    def ask_untold(self):
        kind = self.rng.choice([k for k in (*FACTS, "code") if k not in self.facts])
        if kind == "code":
            return self.ask_missing_code()
        return self.rng.choice(FACTS[kind][2]), UNKNOWN_ANSWER

    def tell_codes(self, count):
        fresh = [(k, v) for k, v in code_pairs(self.rng, count, self.keys, self.digits) if k not in self.codes]
        style = self.rng.randrange(2)
        self.codes.update(fresh)
        return "\n".join(code_line(p, style if self.rng.random() < 0.9 else 1 - style) for p in fresh)

    def ask_code(self):
        if self.rng.random() < MISSING_SHARE:
            return self.ask_missing_code()
        key = self.rng.choice(list(self.codes))
        return self.rng.choice(CODE_QUESTIONS).format(k=key), CODE_ANSWER.format(k=key, v=self.codes[key])

    def ask_missing_code(self):
        key = self.rng.choice([k for k in self.keys if k not in self.codes])
        return self.rng.choice(CODE_QUESTIONS).format(k=key), UNKNOWN_ANSWER


def task_exchange(taught, rng):
    task = rng.choices((taught.arithmetic, taught.reverse, taught.capital, taught.copy, taught.unknown_question,
                        taught.small_talk), (34, 22, 16, 10, 11, 7))[0]
    question, answer = task(rng)
    return casual(question, rng), answer


def next_exchange(taught, memory, rng):
    """One exchange of a mixed dialogue, which may tell or ask something remembered."""
    roll = rng.random()
    if roll < 0.10 and len(memory.facts) < len(FACTS):
        return memory.tell()
    if roll < 0.22 and memory.facts:
        return memory.ask()
    if roll < 0.225 and len(memory.facts) < len(FACTS):
        return memory.ask_untold()
    if roll < 0.26 and len(memory.codes) < 20:
        lines = memory.tell_codes(rng.choice((1, 1, 2, 3, 5)))
        if lines:
            if rng.random() < 0.5:
                return lines, "Noted."
            question, answer = memory.ask_code()
            return lines + "\n" + question, answer
    if roll < 0.36 and memory.codes:
        return memory.ask_code()
    return task_exchange(taught, rng)


def start_row(taught, encoder, room, rng):
    row = Row(encoder, room)
    if rng.random() < 0.15:
        text = rng.choice(SYSTEM_MESSAGES) if rng.random() < 0.8 else rng.choice(taught.lines)
        row.add_ids("system", encoder.encode(text))
    return row


def short_row(taught, encoder, room, rng):
    row, memory = start_row(taught, encoder, room, rng), Memory(taught, rng)
    if rng.random() < VERSE_SHARE:
        row.add(*taught.verse(rng))
    while row.left() > 24 and row.add(*next_exchange(taught, memory, rng)):
        pass
    return row


def context_ids(taught, encoder, rng, budget, density, pairs):
    """Lines worth at most `budget` tokens; a share `density` of them tells the next of `pairs`, others are verse.

    Returns the token ids, the pairs told and where each was told (token offset).
    """
    ids, told, offsets = encoder.encode(rng.choice(INTROS)), [], []
    style, start = rng.randrange(2), rng.randrange(len(taught.lines))
    while True:
        is_code = len(told) < len(pairs) and rng.random() < density
        if is_code:
            line = encoder.encode(code_line(pairs[len(told)], style) + "\n")
        else:
            line = encoder.encode(taught.lines[start % len(taught.lines)] + "\n")
        if len(ids) + len(line) > budget:
            return ids, told, offsets
        if is_code:
            told.append(pairs[len(told)])
            offsets.append(len(ids))
        else:
            start += 1
        ids += line


def long_row(taught, encoder, room, rng):
    row, memory = start_row(taught, encoder, room, rng), Memory(taught, rng)
    density = rng.choice(DENSITIES)
    pairs = code_pairs(rng, MAX_KEYS, memory.keys, memory.digits)
    chunks = rng.choice((1, 1, 1, 2, 3))
    reserve = rng.randint(45, 340)
    for _ in range(rng.randint(0, 2)):
        row.add(*(memory.tell() if rng.random() < 0.7 else task_exchange(taught, rng)))
    for chunk in range(chunks):
        budget = (row.left() - reserve) // (chunks - chunk)
        if budget < 30:
            break
        ids, told, _ = context_ids(taught, encoder, rng, budget, density, pairs)
        pairs = pairs[len(told):]
        memory.codes.update(told)
        if memory.codes and rng.random() < 0.7:
            question, answer = memory.ask_code()
        else:
            question, answer = "Remember this.", "Noted."
        row.add(ids + encoder.encode(question), answer)
        for _ in range(rng.randint(0, 3) if chunk + 1 < chunks else 0):
            row.add(*tail_exchange(taught, memory, rng))
    while row.left() > 30 and row.add(*tail_exchange(taught, memory, rng)):
        pass
    return row


def tail_exchange(taught, memory, rng):
    roll = rng.random()
    if roll < 0.12 and memory.facts:
        return memory.ask()
    if roll < 0.80 and memory.codes:
        return memory.ask_code()
    return task_exchange(taught, rng)


def batch_kind(seed, number, total):
    """Short rows first; longer contexts join as training goes on."""
    progress, roll = number / total, random.Random(f"{seed}:kind:{number}").random()
    long_share = 0.0 if progress < 0.08 else 0.27
    if roll < long_share:
        return "long"
    return "middle" if roll < long_share + 0.15 else "short"


def make_batch(taught, encoder, seed, number, total):
    kind = batch_kind(seed, number, total)
    rows, width, room = SHAPES[kind]
    rng = random.Random(f"{seed}:{number}")
    build = short_row if kind == "short" else long_row
    ids = np.full((rows, width), PAD, dtype=np.int16)
    positions = []
    for r in range(rows):
        row = build(taught, encoder, width, rng)
        ids[r, :len(row.ids)] = row.ids
        positions += [r * width + p for p in row.positions]
    positions = positions[:room]
    where = np.zeros(room, dtype=np.int32)
    share = np.zeros(room, dtype=np.float32)
    where[:len(positions)], share[:len(positions)] = positions, 1.0
    return torch.from_numpy(ids), torch.from_numpy(where), torch.from_numpy(share)


class Batches(torch.utils.data.IterableDataset):
    """Batches `first`..`total`-1 in order, shared out over the loader's workers."""

    def __init__(self, encoder, seed, first, total):
        self.encoder, self.seed, self.first, self.total = encoder, seed, first, total

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        taught = Taught()
        for number in range(self.first + info.id, self.total, info.num_workers):
            yield make_batch(taught, self.encoder, self.seed, number, self.total)


def sample_texts(seed, count):
    """Plain texts in the proportions of training, for choosing the tokenizer's vocabulary."""
    taught, rng = Taught(), random.Random(seed)
    yield "\n".join(rng.sample(taught.lines, 3000))
    for _ in range(count):
        memory = Memory(taught, rng)
        for _ in range(6):
            yield from next_exchange(taught, memory, rng)
        told = memory.tell_codes(6)
        yield told
        yield from memory.ask_code()
    for _, country, city in taught.capitals:
        yield f"What is the capital of {country}?"
        yield f"The capital of {country} is {city}."
