"""Writes the tiny random LFM2 checkpoints under tests/fixtures/models and the values an engine must reproduce.

Runs PyTorch and transformers in float32 on the CPU, eager kernels, from fixed seeds. It is an oracle for tests:
nothing in it is used by the engine, and the checkpoints know no language.

    python3 tests/oracle/make_fixtures.py [--out tests/fixtures/models]
"""
import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (AutoConfig, AutoModelForCausalLM, Lfm2Config, Lfm2ForCausalLM, Lfm2MoeConfig,
                          Lfm2MoeForCausalLM)

PROMPT_LENGTHS = (1, 2, 3, 63, 64, 65, 200, 1000)
ALL_POSITION_LENGTHS = (1, 2, 3, 65)
ALL_TOKEN_EXPERT_LENGTH = 65
CONTINUATION = 64
MIN_TOP2_GAP = 1e-3      # smallest allowed gap of the two best logits at a greedy step, in units of the logits' std
MIN_ROUTER_MARGIN = 2e-6  # smallest allowed gap between the last chosen and the first rejected biased router score
FIRST_PROMPT_ID = 3      # ids below are pad, bos and eos

CONV, ATTN = "conv", "full_attention"
COMMON = dict(max_position_embeddings=4096, norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2,
              conv_bias=False, tie_word_embeddings=True)
MOE = dict(COMMON, use_expert_bias=True, norm_topk_prob=True)

FIXTURES = {
    "lfm2_moe_odd": dict(
        seed=11, dtype=torch.float32, layout="per_expert",
        canonical=dict(MOE, vocab_size=331, hidden_size=72, num_attention_heads=6, num_key_value_heads=2,
                       intermediate_size=77, moe_intermediate_size=45, num_hidden_layers=6, num_dense_layers=1,
                       layer_types=[CONV, ATTN, CONV, CONV, ATTN, CONV], num_experts=7, num_experts_per_tok=3,
                       routed_scaling_factor=1.0, conv_L_cache=3,
                       rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    "lfm2_moe_stacked": dict(
        seed=12, dtype=torch.float32, layout="stacked", shards=3,
        canonical=dict(MOE, vocab_size=257, hidden_size=64, num_attention_heads=4, num_key_value_heads=1,
                       intermediate_size=90, moe_intermediate_size=34, num_hidden_layers=5, num_dense_layers=2,
                       layer_types=[CONV, CONV, ATTN, CONV, ATTN], num_experts=5, num_experts_per_tok=2,
                       routed_scaling_factor=1.5, conv_L_cache=4,
                       rope_parameters={"rope_type": "default", "rope_theta": 50000.0}),
        respell=lambda c: dict({k: v for k, v in c.items() if k != "rope_parameters"}, rope_theta=50000.0)),
    "lfm2_moe_bf16": dict(
        seed=13, dtype=torch.bfloat16, layout="per_expert",
        canonical=dict(MOE, vocab_size=512, hidden_size=96, num_attention_heads=3, num_key_value_heads=1,
                       intermediate_size=160, moe_intermediate_size=48, num_hidden_layers=5, num_dense_layers=2,
                       layer_types=[CONV, CONV, ATTN, CONV, ATTN], num_experts=8, num_experts_per_tok=4,
                       routed_scaling_factor=1.0, conv_L_cache=3,
                       rope_parameters={"rope_type": "default", "rope_theta": 5000000.0})),
    # 100 -> int(2*100/3) = 66 -> int(1.1*66) = 72 -> rounded up to a multiple of 10 = 80
    "lfm2_dense": dict(
        seed=14, dtype=torch.float32, layout="dense", hidden_from_transformers=["theta"],
        canonical=dict(COMMON, vocab_size=300, hidden_size=48, num_attention_heads=4, num_key_value_heads=2,
                       intermediate_size=100, num_hidden_layers=4, layer_types=[CONV, ATTN, CONV, ATTN],
                       block_multiple_of=10, block_ffn_dim_multiplier=1.1, block_auto_adjust_ff_dim=True,
                       conv_L_cache=3, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
        respell=lambda c: dict({k: v for k, v in c.items() if k not in
                                ("intermediate_size", "layer_types", "rope_parameters", "tie_word_embeddings")},
                               block_ff_dim=100, full_attn_idxs=[1, 3], theta=10000.0, tie_embedding=True)),
}


def build_model(spec):
    """A transformers model whose weights are drawn by name order, then rounded to the dtype stored on disk."""
    moe = spec["layout"] != "dense"
    config = (Lfm2MoeConfig if moe else Lfm2Config)(**spec["canonical"])
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = (Lfm2MoeForCausalLM if moe else Lfm2ForCausalLM)(config).float().eval()
    generator = torch.Generator().manual_seed(spec["seed"])
    tensors = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    with torch.no_grad():
        for name in sorted(tensors):
            value = tensors[name]
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("expert_bias"):
                value.copy_(0.3 * noise)
                continue
            if "norm" in name:
                value.copy_(1.0 + 0.2 * noise)
            else:
                gain = 1.0 if "conv." in name else 1.5
                value.copy_(gain / math.sqrt(value.shape[-1]) * noise)
            value.copy_(value.to(spec["dtype"]).float())
    model.tie_weights()
    return model, tensors


def disk_tensors(tensors, spec):
    """Model tensors under the names and dtypes of the published checkpoints."""
    out = {}
    for name, value in tensors.items():
        dtype = torch.float32 if name.endswith("expert_bias") else spec["dtype"]
        stored = value.detach().clone().to(dtype)
        if spec["layout"] == "per_expert" and ".experts." in name:
            prefix = name.rsplit(".", 1)[0]
            for j in range(stored.shape[0]):
                if name.endswith("gate_up_proj"):
                    w1, w3 = stored[j].chunk(2, dim=0)
                    out[f"{prefix}.{j}.w1.weight"], out[f"{prefix}.{j}.w3.weight"] = w1.clone(), w3.clone()
                else:
                    out[f"{prefix}.{j}.w2.weight"] = stored[j].clone()
        else:
            out[name] = stored
    return out


def write_checkpoint(folder, tensors, spec):
    folder.mkdir(parents=True, exist_ok=True)
    moe = spec["layout"] != "dense"
    config = dict(architectures=["Lfm2MoeForCausalLM" if moe else "Lfm2ForCausalLM"],
                  model_type="lfm2_moe" if moe else "lfm2",
                  dtype=str(spec["dtype"]).removeprefix("torch."), use_cache=True)
    config.update(spec.get("respell", dict)(spec["canonical"]))
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    stored = disk_tensors(tensors, spec)
    shards = spec.get("shards", 1)
    if shards == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(stored)
    weight_map = {}
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = names[s::shards]
        save_file({n: stored[n] for n in part}, folder / file, metadata={"format": "pt"})
        weight_map.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


class RouterProbe:
    """Records, per MoE layer, the chosen experts of every token of the last forward pass and the choice margins."""

    def __init__(self, model):
        self.layers = [i for i, l in enumerate(model.model.layers) if hasattr(l.feed_forward, "experts")]
        self.chosen, self.unbiased_differs, self.margin = {}, 0, math.inf
        for i in self.layers:
            block = model.model.layers[i].feed_forward
            block.register_forward_pre_hook(lambda m, args, i=i: self.record(i, m, args[0]))

    def record(self, layer, block, hidden):
        score = torch.sigmoid(hidden.reshape(-1, hidden.shape[-1]) @ block.gate.weight.T)
        biased, k = score + block.expert_bias, block.gate.top_k
        ordered = biased.sort(dim=-1, descending=True).values
        self.margin = min(self.margin, (ordered[:, k - 1] - ordered[:, k]).min().item())
        self.chosen[layer] = biased.topk(k, dim=-1).indices.sort(dim=-1).values
        plain = score.topk(k, dim=-1).indices.sort(dim=-1).values
        self.unbiased_differs += int((plain != self.chosen[layer]).any(dim=-1).sum())

    def rows(self, first):
        return {str(i): self.chosen[i][first:].tolist() for i in self.layers}


def greedy(model, prompt):
    """Greedy continuation with the cache; then one cache-free pass gives every step's top-2 gap and must agree."""
    ids, cache = prompt, None
    step = prompt
    for _ in range(CONTINUATION):
        out = model(input_ids=step, past_key_values=cache, use_cache=True)
        cache, step = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, step], dim=1)
    logits = model(input_ids=ids, use_cache=False).logits[0, prompt.shape[1] - 1:-1]
    same = bool((logits.argmax(-1) == ids[0, prompt.shape[1]:]).all())
    top2 = logits.topk(2, dim=-1).values
    return ids[0, prompt.shape[1]:].tolist(), ((top2[:, 0] - top2[:, 1]) / logits.std()).min().item(), same


def expected_values(model, spec):
    """Prompts whose runs have no near-ties, with their logits, greedy continuations and expert choices."""
    probe = RouterProbe(model)
    facts = {"seed": spec["seed"], "prompts": {}}
    logits_out, spread = {}, []
    for length in PROMPT_LENGTHS:
        for attempt in range(400):
            prompt_seed = 1000 * spec["seed"] + 17 * length + 100003 * attempt
            generator = torch.Generator().manual_seed(prompt_seed)
            prompt = torch.randint(FIRST_PROMPT_ID, spec["canonical"]["vocab_size"], (1, length), generator=generator)
            probe.margin = math.inf
            continuation, gap, same = greedy(model, prompt)
            if same and gap > MIN_TOP2_GAP and probe.margin > MIN_ROUTER_MARGIN:
                break
        else:
            raise SystemExit(f"no prompt of length {length} without near-ties")
        margin = probe.margin
        logits = model(input_ids=prompt, use_cache=False).logits[0]
        spread.append(logits.std().item())
        logits_out[f"logits_last_{length}"] = logits[-1].clone()
        if length in ALL_POSITION_LENGTHS:
            logits_out[f"logits_all_{length}"] = logits.clone()
        entry = {"ids": prompt[0].tolist(), "greedy": continuation, "seed": prompt_seed, "min_top2_gap_over_std": gap}
        if probe.layers:
            first = 0 if length == ALL_TOKEN_EXPERT_LENGTH else length - 1
            entry.update(expert_rows_from_token=first, experts=probe.rows(first), min_router_margin=margin)
        facts["prompts"][str(length)] = entry
    facts.update(logits_std=sum(spread) / len(spread), moe_layers=probe.layers,
                 note="greedy ignores eos; experts: per MoE layer, one sorted row of expert ids per token, "
                      "from token expert_rows_from_token to the prompt's last")
    return facts, logits_out, probe.unbiased_differs


def reload_error(folder, spec, facts, logits_out):
    """Largest difference of the last logits after AutoModelForCausalLM.from_pretrained, over the logits' std."""
    config = AutoConfig.from_pretrained(folder)
    for field in spec.get("hidden_from_transformers", []):  # spellings transformers itself ignores
        assert field == "theta"
        config.rope_parameters = dict(spec["canonical"]["rope_parameters"])
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                 attn_implementation="eager", experts_implementation="eager").eval()
    worst = 0.0
    for length in PROMPT_LENGTHS:
        ids = torch.tensor([facts["prompts"][str(length)]["ids"]])
        got = model(input_ids=ids, use_cache=False).logits[0, -1]
        worst = max(worst, (got - logits_out[f"logits_last_{length}"]).abs().max().item())
    return worst / facts["logits_std"]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="tests/fixtures/models")
    out = Path(parser.parse_args().out)
    torch.manual_seed(0)
    rows = []
    for name, spec in FIXTURES.items():
        model, tensors = build_model(spec)
        folder = out / name
        write_checkpoint(folder, tensors, spec)
        facts, logits_out, differs = expected_values(model, spec)
        error = reload_error(folder, spec, facts, logits_out)
        assert error < 1e-4, (name, error)
        (folder / "expected.json").write_text(json.dumps(facts, separators=(",", ":")) + "\n")
        save_file(logits_out, folder / "expected.safetensors")
        size = sum(f.stat().st_size for f in folder.iterdir())
        prompts = facts["prompts"].values()
        rows.append(f"{name:18s} {sum(t.numel() for t in tensors.values()):9d} {size / 1024:9.0f} "
                    f"{facts['logits_std']:7.3f} {min(p['min_top2_gap_over_std'] for p in prompts):9.5f} "
                    f"{min(p.get('min_router_margin', math.inf) for p in prompts):10.2e} {differs:8d} {error:10.2e}")
        print(rows[-1], flush=True)
    print(f"{'name':18s} {'params':>9s} {'KiB':>9s} {'std':>7s} {'top2 gap':>9s} {'margin':>10s} {'by bias':>8s} "
          f"{'reload':>10s}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
