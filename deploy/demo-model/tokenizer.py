"""Builds the demo model's tokenizer.json (byte-level BPE, 960 ids) and encodes text quickly while training.

The vocabulary holds all bytes, merges that only extend the beginning of a word, and the most useful whole words
(`ignore_merges`, as in Llama 3 and LFM2). A lower-case word without a leading space, as in `Reverse "planet"`, is
therefore spelled letter by letter. The fast encoder below must agree with the tokenizers library; train.py checks it.
"""
import json
from collections import Counter

import regex

SPECIAL = ["<|pad|>", "<|startoftext|>", "<|im_start|>", "<|im_end|>"]
PAD, BOS, IM_START, IM_END = range(4)
VOCAB_SIZE = 960
PREFIX_MERGES = 170
ROLES = ("user", "assistant", "system")
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_letters():
    """The printable stand-in of each byte, as in every byte-level BPE since GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return [letters[b] for b in range(256)]


LETTERS = byte_letters()
SPACE = LETTERS[32]


def spell(text):
    return "".join(LETTERS[b] for b in text.encode())


def mergeable(word):
    """Words whose beginning may merge: after a space, or with a capital letter first."""
    return (word[0] == SPACE or word[0].isupper()) and word[1:].isascii() and word[1:].isalpha()


def spelled_only(piece):
    """Lower-case words without a leading space stay letters, and digits stay single."""
    return (piece[0].isalpha() and piece[0].islower() and piece[0].isascii()) or any(c.isdigit() for c in piece)


def build(texts):
    """tokenizer.json as a dict, from an iterable of sample texts."""
    counts = Counter()
    for text in texts:
        counts.update(regex.findall(PATTERN, text))
    pieces = Counter({spell(p): n for p, n in counts.items() if not spelled_only(p)})
    pieces = Counter({p: n for p, n in pieces.items() if len(p) > 1})
    whole_room = VOCAB_SIZE - len(SPECIAL) - 256 - len(ROLES) - PREFIX_MERGES
    ranked = sorted(pieces, key=lambda p: (-pieces[p] * (len(p) - 1), p))
    whole = set(ranked[:whole_room])

    prefixes = Counter()
    for piece, n in pieces.items():
        if piece not in whole and mergeable(piece):
            for end in range(2, len(piece) + 1):
                prefixes[piece[:end]] += n
    merges, known = [], {SPACE, *(chr(c) for c in range(65, 91))}
    open_prefixes = {p for p in prefixes if p[:-1] in known}
    while len(merges) < PREFIX_MERGES:
        best = min(open_prefixes, key=lambda p: (-prefixes[p], p))
        open_prefixes.discard(best)
        if best in whole:
            whole.discard(best)
            whole.add(next(p for p in ranked if p not in whole and p not in known))
        merges.append([best[:-1], best[-1]])
        known.add(best)
        open_prefixes.update(p for p in prefixes if p[:-1] == best and p not in known)

    tokens = SPECIAL + LETTERS + [a + b for a, b in merges] + list(ROLES)
    tokens += sorted(whole - set(tokens))
    spare = (p for p in ranked if p not in set(tokens))
    while len(tokens) < VOCAB_SIZE:
        tokens.append(next(spare))
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, t in enumerate(SPECIAL)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": SPECIAL[BOS], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": SPECIAL[BOS], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": SPECIAL[BOS], "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL[BOS]: {"id": SPECIAL[BOS], "ids": [BOS], "tokens": [SPECIAL[BOS]]}}},
        "decoder": dict(byte_level, use_regex=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges},
    }


def write(folder, tokenizer):
    """tokenizer.json and the files transformers reads beside it."""
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, indent=1) + "\n")
    names = {"bos_token": SPECIAL[BOS], "eos_token": SPECIAL[IM_END], "pad_token": SPECIAL[PAD]}
    config = dict(names, tokenizer_class="PreTrainedTokenizerFast", model_max_length=4096,
                  clean_up_tokenization_spaces=False, chat_template=CHAT_TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=1) + "\n")


class Encoder:
    """Encodes plain text (no special tokens) with a cache per pre-token."""

    def __init__(self, tokenizer):
        self.vocab = tokenizer["model"]["vocab"]
        self.rank = {(a, b): i for i, (a, b) in enumerate(tokenizer["model"]["merges"])}
        self.letters = [None] * len(self.vocab)
        for token, i in self.vocab.items():
            self.letters[i] = token
        self.bytes = {c: b for b, c in enumerate(LETTERS)}
        self.split = regex.compile(PATTERN).findall
        self.cache = {}

    def piece(self, text):
        word = spell(text)
        if word in self.vocab:
            return [self.vocab[word]]
        parts = list(word)
        while len(parts) > 1:
            ranks = [self.rank.get(pair, len(self.rank)) for pair in zip(parts, parts[1:])]
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[best] == len(self.rank):
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        return [self.vocab[p] for p in parts]

    def encode(self, text):
        ids = []
        for piece in self.split(text):
            known = self.cache.get(piece)
            if known is None:
                known = self.cache[piece] = self.piece(piece)
            ids.extend(known)
        return ids

    def decode(self, ids):
        return bytes(self.bytes[c] for i in ids if i >= len(SPECIAL) for c in self.letters[i]).decode(errors="replace")
