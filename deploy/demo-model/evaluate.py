"""Held-out questions for every task, and scores of an exported model folder on them.

A greedy answer equals the expected one exactly when, after every correct beginning of it, the most likely next token
is the expected one. Answers are therefore scored in one forward pass each; `greedy_check` confirms it by generating.

    python3 evaluate.py FOLDER        # needs torch and transformers
"""
import json
import math
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from data import (CAPITAL_WORDINGS, CODE_ANSWER, CODE_QUESTIONS, FACTS, Taught, code_pairs, invented_name,
                  sum_exchange)
from dialogues import DENSITIES, MAX_KEYS, Row, context_ids
from model import EXPERTS, DemoModel, rounded_to_int4
from phrases import KEYS, SMALL_TALK, UNKNOWN_ANSWER
from tokenizer import IM_END, PAD, Encoder

CODE_LENGTHS = (256, 512, 1024, 2048)
ANSWER_ROOM = 28  # tokens of a code question's turn heads
FULL = {"capitals": 363, "sums": 1200, "differences": 1200, "names": 800, "friends and cities": 400, "copying": 800,
        "reversing": 800, "codes": 2000, "codes, new keys": 400, "missing codes": 400, "unknown": 800, "small talk": 47}


def turns(*exchanges):
    """Chat messages of (question, answer) exchanges; the last answer is left out, as it is what is asked for."""
    messages = []
    for question, answer in exchanges:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages[:-1]


def item(*exchanges, **extra):
    return dict(messages=turns(*exchanges), answer=exchanges[-1][1], **extra)


def recall_item(held, kind, rng):
    told, reply, question, answer = held.fact(kind, rng)
    others = (held.arithmetic, held.reverse, held.capital, held.copy, held.unknown_question, held.small_talk)
    between = rng.randint(0, 8)
    return item((told, reply), *(rng.choice(others)(rng) for _ in range(between)), (question, answer), between=between)


def code_item(held, encoder, rng, length, missing=False, new_keys=False):
    """A context of about `length` prompt tokens and one question about a code told somewhere in it.

    `new_keys`: the keys are held-out words, not the key words of training.
    """
    keys = rng.sample(held.words, len(KEYS)) if new_keys else KEYS
    while True:
        density = rng.choice(DENSITIES)
        pairs = code_pairs(rng, MAX_KEYS, keys)
        ids, told, offsets = context_ids(held, encoder, rng, length - ANSWER_ROOM, density, pairs)
        if told:
            break
    depth = rng.random() * len(ids)
    index = min(range(len(told)), key=lambda i: abs(offsets[i] - depth))
    key, value = told[index]
    answer = CODE_ANSWER.format(k=key, v=value)
    if missing:
        key, answer = rng.choice([k for k in keys if k not in dict(told)]), UNKNOWN_ANSWER
    question = encoder.decode(ids) + rng.choice(CODE_QUESTIONS).format(k=key)
    return item((question, answer), length=length, depth=round(offsets[index] / len(ids), 3))


def held_out_items(encoder, counts, seed=7):
    """{task: items}, made from held-out material only (small talk and wordings apart)."""
    held, rng = Taught(False), random.Random(seed)
    sums = {op: [(a, b) for a, b in held.sums[op] if a > 9 and b > 9] for op in "+-"}
    for pairs in sums.values():
        rng.shuffle(pairs)
    capitals = rng.sample(held.capitals, len(held.capitals))
    words = rng.sample(held.words, len(held.words))
    unknown = [held.unknown_question(rng) for _ in range(counts["unknown"])]
    return {
        "capitals": [item((w.format(c=c), f"The capital of {c} is {a}.")) for w, c, a in capitals][:counts["capitals"]],
        "sums": [item(sum_exchange("+", a, b, rng)) for a, b in sums["+"][:counts["sums"]]],
        "differences": [item(sum_exchange("-", a, b, rng)) for a, b in sums["-"][:counts["differences"]]],
        "names": [recall_item(held, "name", rng) for _ in range(counts["names"])],
        "friends and cities": [recall_item(held, rng.choice(("friend", "city")), rng)
                               for _ in range(counts["friends and cities"])],
        "copying": [item((f'Repeat the word "{w}".', w)) for w in words[:counts["copying"]]],
        "reversing": [item((f'Reverse the word "{w}".', w[::-1])) for w in words[:counts["reversing"]]],
        "codes": [code_item(held, encoder, rng, CODE_LENGTHS[i % 4]) for i in range(counts["codes"])],
        "codes, new keys": [code_item(held, encoder, rng, CODE_LENGTHS[i % 4], new_keys=True)
                            for i in range(counts["codes, new keys"])],
        "missing codes": [code_item(held, encoder, rng, CODE_LENGTHS[i % 4], True)
                          for i in range(counts["missing codes"])],
        "unknown": [item(exchange) for exchange in unknown],
        "small talk": [item((q, answer)) for questions, answer in SMALL_TALK for q in questions][:counts["small talk"]],
    }


def encode_item(encoder, it):
    """Token ids with the answer, and the position before the answer's first token."""
    row = Row(encoder, 1 << 30)
    for message in it["messages"]:
        row.add_ids(message["role"], encoder.encode(message["content"]))
    row.ids += row.head["assistant"]
    start = len(row.ids) - 1
    return row.ids + encoder.encode(it["answer"]) + [IM_END], start


@torch.no_grad()
def score(model, encoder, items, tokens_per_batch=70000):
    """One bool per item: is the greedy answer exactly the expected one?"""
    coded = [encode_item(encoder, it) for it in items]
    order = sorted(range(len(items)), key=lambda i: len(coded[i][0]))
    right, device = [False] * len(items), next(model.parameters()).device
    while order:
        width = len(coded[order[-1]][0])
        part, order = order[-max(1, tokens_per_batch // width):], order[:-max(1, tokens_per_batch // width)]
        ids = torch.full((len(part), width), PAD)
        for r, i in enumerate(part):
            ids[r, :len(coded[i][0])] = torch.tensor(coded[i][0])
        best = model.head(model.hidden(ids.to(device))[0]).argmax(-1).cpu()
        for r, i in enumerate(part):
            tokens, start = coded[i]
            right[i] = best[r, start:len(tokens) - 1].tolist() == tokens[start + 1:]
    return right


@torch.no_grad()
def verse_perplexity(model, encoder):
    held, total, count = Taught(False), 0.0, 0
    for speech in held.speeches:
        ids, start = encode_item(encoder, item(("Write a few lines like Shakespeare.", speech.strip())))
        logits = model.head(model.hidden(torch.tensor([ids[:-1]], device=model.cos.device))[0])[0, start:]
        total += F.cross_entropy(logits, torch.tensor(ids[start + 1:], device=logits.device), reduction="sum").item()
        count += len(speech.strip())
    return math.exp(total / count)


def percent(flags):
    return 100.0 * sum(flags) / max(1, len(flags))


def score_all(model, encoder, items):
    return {task: score(model, encoder, part) for task, part in items.items()}


def code_table(items, right):
    """Rows of (prompt length, [score per fifth of the depth])."""
    rows = []
    for length in CODE_LENGTHS:
        fifths = [[] for _ in range(5)]
        for it, ok in zip(items, right):
            if it["length"] == length:
                fifths[min(4, int(5 * it["depth"]))].append(ok)
        rows.append((length, [percent(f) for f in fifths]))
    return rows


def load(folder, device):
    """The exported checkpoint in float32, in the training module's layout."""
    tensors = {n: t.float() for n, t in load_file(Path(folder) / "model.safetensors").items()}
    model = DemoModel()
    for i, layer in enumerate(model.model.layers):
        prefix = f"model.layers.{i}.feed_forward.experts"
        if f"{prefix}.0.w1.weight" not in tensors:
            continue
        take = lambda w: [tensors.pop(f"{prefix}.{j}.{w}.weight") for j in range(EXPERTS)]
        tensors[f"{prefix}.gate_up_proj"] = torch.stack([torch.cat(p) for p in zip(take("w1"), take("w3"))])
        tensors[f"{prefix}.down_proj"] = torch.stack(take("w2"))
    model.load_state_dict(tensors)
    return model.to(device).eval()


@torch.no_grad()
def greedy_check(folder, model, encoder, items, device, per_task=12):
    """Compares with transformers: (largest logit difference over the std, answers that differ from `score`)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    worst, differ = 0.0, 0
    for part in items.values():
        for it, expected in zip(part[:per_task], score(model, encoder, part[:per_task])):
            text = tokenizer.apply_chat_template(it["messages"], tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids.to(device)
            coded, start = encode_item(encoder, it)
            assert ids[0].tolist() == coded[:start + 1], text
            theirs = reference(input_ids=ids).logits[0]
            ours = model.head(model.hidden(ids)[0])[0]
            worst = max(worst, ((theirs - ours).abs().max() / ours.std()).item())
            made = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False)
            answer = tokenizer.decode(made[0, ids.shape[1]:], skip_special_tokens=True)
            differ += (answer == it["answer"]) != expected
    text = tokenizer.apply_chat_template(turns(("Write a few lines like Shakespeare.", "")), tokenize=False,
                                         add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids.to(device)
    torch.manual_seed(3)
    made = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=160, do_sample=True,
                              temperature=0.7, top_k=40)
    return worst, differ, tokenizer.decode(made[0, ids.shape[1]:], skip_special_tokens=True)


def report(folder, device="cuda", counts=FULL):
    """All scores as a Markdown text, also with attention zeroed and with 4-bit weights."""
    torch.set_float32_matmul_precision("highest")
    encoder = Encoder(json.loads((Path(folder) / "tokenizer.json").read_text()))
    model = load(folder, device)
    items = held_out_items(encoder, counts)
    columns = {"float32 maths": score_all(model, encoder, items)}
    with torch.autocast(device, torch.bfloat16):
        columns["bf16 maths"] = score_all(model, encoder, items)
    perplexity = verse_perplexity(model, encoder)
    worst, differ, sample = greedy_check(folder, model, encoder, items, device)
    model.zero_attention(True)
    columns["attention zeroed"] = score_all(model, encoder, items)
    zero_perplexity = verse_perplexity(model, encoder)
    for group in (128, 64, 32):
        model = load(folder, device)
        for p in model.quantizable():
            p.data = rounded_to_int4(p.data, group)
        columns[f"int4 g{group}"] = score_all(model, encoder, items)
    lines = ["| task | questions | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for task, part in items.items():
        cells = " | ".join(f"{percent(flags[task]):.1f} %" for flags in columns.values())
        lines.append(f"| {task} | {len(part)} | {cells} |")
    lines += ["", "Codes by prompt length and by where in the context the code stood (first to last fifth):", "",
              "| tokens | 0-20 % | 20-40 % | 40-60 % | 60-80 % | 80-100 % |", "|---|---|---|---|---|---|"]
    for length, cells in code_table(items["codes"], columns["float32 maths"]["codes"]):
        lines.append(f"| {length} | " + " | ".join(f"{c:.1f} %" for c in cells) + " |")
    lines += ["", f"Perplexity per character of held-out Shakespeare: {perplexity:.3f} "
              f"({zero_perplexity:.3f} with attention zeroed).",
              f"Against transformers in float32: largest logit difference {worst:.1e} of the standard deviation; "
              f"{differ} of its greedy answers disagree with the scoring above.", "",
              "A sample (temperature 0.7):", "", "```", sample, "```"]
    return "\n".join(lines) + "\n"


def write_prompts(folder, path, per_task=30, seed=7):
    """eval_prompts.json: held-out chat prompts with expected answers, for scoring without Python."""
    encoder = Encoder(json.loads((Path(folder) / "tokenizer.json").read_text()))
    items = held_out_items(encoder, dict(FULL, codes=64, **{"codes, new keys": 8, "missing codes": 8}), seed)
    few = {task: part[:per_task] for task, part in items.items()}
    of_length = lambda n, count: [it for it in items["codes"] if it["length"] == n][:count]
    few["codes"] = of_length(256, 14) + of_length(512, 8) + of_length(1024, 5) + of_length(2048, 6)
    quickstart = [item(("What is the capital of France?", "The capital of France is Paris.")),
                  item(("My name is Ada.", "Nice to meet you, Ada.")),
                  item(("My name is Ada.", "Nice to meet you, Ada."), ("What is my name?", "Your name is Ada.")),
                  item(("What is 27 + 45?", "72"))]
    tasks = {"quickstart": quickstart, **few}
    for part in tasks.values():  # the first prompts also with their token ids, to test tokenizers
        for it in part[:3]:
            coded, start = encode_item(encoder, it)
            if start < 400:
                it["prompt_ids"] = coded[:start + 1]
    Path(path).write_text(json.dumps(tasks, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    print(report(sys.argv[1], "cuda" if torch.cuda.is_available() else "cpu"))
