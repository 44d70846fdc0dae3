"""Trains the demo model from a seed and writes the whole Hugging Face folder, scores included.

    python3 train.py --out FOLDER     # one GPU, torch and transformers; see README.md for the time it took
"""
import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import tokenizer as tok
from dialogues import Batches, Row, long_row, sample_texts
from data import Taught
from evaluate import FULL, held_out_items, load, percent, report, score_all, write_prompts
from model import DemoModel, export, rounded_to_int4

PEAK_RATE, WARMUP, WEIGHT_DECAY, CLIP = 2e-3, 200, 0.05, 1.0
BALANCE_RATE, BALANCE_UNTIL = 2e-3, 0.85
INT4_FROM = 0.75  # share of training after which most steps see 4-bit weights, so that int4 engines lose little
INT4_GROUPS = (128, 64, 32, None)


def check_encoder(encoder, folder):
    """The fast encoder must give the ids of the tokenizers library."""
    from tokenizers import Tokenizer
    library, taught, rng = Tokenizer.from_file(str(folder / "tokenizer.json")), Taught(), random.Random(5)
    for _ in range(20):
        row = long_row(taught, encoder, 900, rng)
        text = library.decode(row.ids, skip_special_tokens=False)
        assert library.encode(text, add_special_tokens=False).ids == row.ids, text


class Int4Weights:
    """Lets one step see 4-bit weights while the optimizer keeps updating the exact ones."""

    def __init__(self, model):
        self.weights = model.quantizable()
        self.exact = [torch.empty_like(p) for p in self.weights]

    @torch.no_grad()
    def enter(self, group):
        torch._foreach_copy_(self.exact, self.weights)
        for p in self.weights:
            p.copy_(rounded_to_int4(p, group))

    @torch.no_grad()
    def leave(self):
        torch._foreach_copy_(self.weights, self.exact)


def learning_rate(step, steps):
    return PEAK_RATE * min(1.0, step / WARMUP, max(0.0, (steps - step) / (0.65 * steps)))


@torch.no_grad()
def balance(model, loads, rate):
    """Aux-loss-free balancing: raises the selection bias of experts chosen less than average."""
    for ffn, load_ in zip(model.sparse_layers(), loads):
        ffn.expert_bias += rate * torch.sign(load_.mean() - load_)


def quick_scores(model, encoder, folder):
    export(model, folder)
    items = held_out_items(encoder, {task: 64 for task in FULL}, seed=8)
    scores = score_all(load(folder, "cuda"), encoder, items)
    return "  ".join(f"{task} {percent(flags):.0f}" for task, flags in scores.items())


def train(model, encoder, batches, args, folder):
    def loss_of(ids, where, share):
        h, loads = model.hidden(ids)
        logits = model.head(h.flatten(0, 1)[where])
        targets = ids.flatten()[where + 1]
        loss = F.cross_entropy(logits.float(), targets, reduction="none")
        return (loss * share).sum() / share.sum(), loads

    torch._dynamo.config.recompile_limit = 64
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    decayed = model.quantizable()
    others = [p for p in model.parameters() if not any(p is d for d in decayed)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY},
                                   {"params": others, "weight_decay": 0.0}], lr=0.0, betas=(0.9, 0.97), fused=True)
    int4, rng = Int4Weights(model), random.Random(args.seed)
    began, tokens, sums = time.time(), 0, {}
    for step, batch in enumerate(batches):
        ids, where, share = (t.cuda(non_blocking=True) for t in batch)
        group = rng.choice(INT4_GROUPS) if step > INT4_FROM * args.steps else None
        if group:
            int4.enter(group)
        with torch.autocast("cuda", torch.bfloat16):
            loss, loads = loss_of(ids.long(), where.long(), share)
        loss.backward()
        if group:
            int4.leave()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for part in optimizer.param_groups:
            part["lr"] = learning_rate(step, args.steps)
        optimizer.step()
        optimizer.zero_grad()
        if step < BALANCE_UNTIL * args.steps:
            balance(model, loads, BALANCE_RATE * (1 - step / args.steps))
        tokens += ids.numel()
        sums.setdefault(ids.shape[1], []).append(loss.detach())
        if step % args.log_every == args.log_every - 1:
            text = "  ".join(f"{width}: {torch.stack(v).mean():.4f}" for width, v in sorted(sums.items()))
            busy = max(((l.max() / l.mean()).item() for l in loads))
            seconds = time.time() - began
            print(f"step {step + 1} {seconds:.0f} s {tokens / seconds / 1e6:.2f} Mtok/s  loss {text}  "
                  f"grad {norm:.2f}  busiest expert {busy:.2f}x", flush=True)
            sums = {}
        if step % args.score_every == args.score_every - 1 and step + 1 < args.steps:
            print("   ", quick_scores(model, encoder, folder), flush=True)
    return tokens, time.time() - began


def write_card(folder, scores, args, tokens, seconds):
    about = (Path(__file__).parent / "card.md").read_text()
    facts = f"seed {args.seed}, {args.steps} steps, {tokens / 1e6:.0f} M tokens, {seconds / 60:.1f} minutes on one " \
            f"{torch.cuda.get_device_name()}"
    (folder / "README.md").write_text(about.replace("{{training}}", facts).replace("{{scores}}", scores))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--log-every", type=int, default=250)
    parser.add_argument("--score-every", type=int, default=2000)
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tok.build(sample_texts(1, 6000))
    tok.write(folder, tokenizer)
    encoder = tok.Encoder(tokenizer)
    check_encoder(encoder, folder)
    loader = torch.utils.data.DataLoader(Batches(encoder, args.seed, 0, args.steps), batch_size=None,
                                         num_workers=args.workers, prefetch_factor=8, pin_memory=True)
    batches = iter(loader)
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    model = DemoModel().cuda()
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    tokens, seconds = train(model, encoder, batches, args, folder)
    export(model, folder)
    size = (folder / "model.safetensors").stat().st_size
    assert size <= 8 * 1024 * 1024, size
    write_prompts(folder, folder / "eval_prompts.json")
    scores = report(folder)
    write_card(folder, scores, args, tokens, seconds)
    print(f"model.safetensors {size} bytes\n{scores}")


if __name__ == "__main__":
    main()
