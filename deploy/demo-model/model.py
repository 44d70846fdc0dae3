"""The demo model as a compact PyTorch module for training: LFM2-MoE with the same maths as transformers.

All experts are computed for every token and masked by the routing weights, which is fastest at this size and equal to
routing. Parameter names are those of transformers' Lfm2MoeForCausalLM, so `state_dict()` loads there directly.
"""
import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from tokenizer import BOS, IM_END, PAD, VOCAB_SIZE

CONV, ATTENTION = "conv", "full_attention"
CONFIG = {
    "architectures": ["Lfm2MoeForCausalLM"], "model_type": "lfm2_moe", "dtype": "bfloat16",
    "vocab_size": VOCAB_SIZE, "hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 64,
    "num_hidden_layers": 7, "num_dense_layers": 2,
    "layer_types": [CONV, CONV, ATTENTION, CONV, ATTENTION, CONV, ATTENTION],
    "num_attention_heads": 8, "num_key_value_heads": 2, "num_experts": 8, "num_experts_per_tok": 2,
    "use_expert_bias": True, "norm_topk_prob": True, "routed_scaling_factor": 1.0,
    "conv_L_cache": 3, "conv_bias": False, "norm_eps": 1e-5, "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "tie_word_embeddings": True,
    "initializer_range": 0.02, "use_cache": True,
    "bos_token_id": BOS, "eos_token_id": IM_END, "pad_token_id": PAD,
}
C = CONFIG
HIDDEN, HEADS, KV_HEADS = C["hidden_size"], C["num_attention_heads"], C["num_key_value_heads"]
HEAD_DIM, EXPERTS, TAPS = HIDDEN // HEADS, C["num_experts"], C["conv_L_cache"]


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + C["norm_eps"]) * self.weight


def linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=inputs ** -0.5)
    return layer


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj = linear(HIDDEN, HIDDEN), linear(HIDDEN, KV_HEADS * HEAD_DIM)
        self.v_proj, self.out_proj = linear(HIDDEN, KV_HEADS * HEAD_DIM), linear(HIDDEN, HIDDEN)
        self.q_layernorm, self.k_layernorm = RMSNorm(HEAD_DIM), RMSNorm(HEAD_DIM)
        nn.init.constant_(self.q_layernorm.weight, 1.5)
        nn.init.constant_(self.k_layernorm.weight, 1.5)
        self.zeroed = False  # for scoring without attention

    def forward(self, x, cos, sin):
        if self.zeroed:
            return torch.zeros_like(x)
        rows, length, _ = x.shape
        q = self.q_layernorm(self.q_proj(x).view(rows, length, HEADS, HEAD_DIM)).transpose(1, 2)
        k = self.k_layernorm(self.k_proj(x).view(rows, length, KV_HEADS, HEAD_DIM)).transpose(1, 2)
        v = self.v_proj(x).view(rows, length, KV_HEADS, HEAD_DIM).transpose(1, 2)
        q, k = (rotate(t, cos, sin).to(v.dtype) for t in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out_proj(y.transpose(1, 2).reshape(rows, length, HIDDEN))


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class ShortConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj, self.out_proj = linear(HIDDEN, 3 * HIDDEN), linear(HIDDEN, HIDDEN)
        self.conv = nn.Conv1d(HIDDEN, HIDDEN, TAPS, groups=HIDDEN, bias=False)
        nn.init.normal_(self.conv.weight, std=TAPS ** -0.5)

    def forward(self, x, cos, sin):
        b, c, x = self.in_proj(x).chunk(3, dim=-1)
        u = b * x
        taps = self.conv.weight.squeeze(1).to(u.dtype)
        y = u * taps[:, -1]
        for back in range(1, TAPS):
            y = y + F.pad(u, (0, 0, back, 0))[:, :u.shape[1]] * taps[:, TAPS - 1 - back]
        return self.out_proj(c * y)


class DenseFFN(nn.Module):
    def __init__(self):
        super().__init__()
        width = C["intermediate_size"]
        self.w1, self.w3, self.w2 = linear(HIDDEN, width), linear(HIDDEN, width), linear(width, HIDDEN)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x)), None


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        width = C["moe_intermediate_size"]
        self.gate_up_proj = nn.Parameter(torch.randn(EXPERTS, 2 * width, HIDDEN) * HIDDEN ** -0.5)
        self.down_proj = nn.Parameter(torch.randn(EXPERTS, HIDDEN, width) * width ** -0.5)

    def forward(self, x, weights):
        gate, up = F.linear(x, self.gate_up_proj.flatten(0, 1)).unflatten(-1, (EXPERTS, 2, -1)).unbind(-2)
        y = F.silu(gate) * up * weights.unsqueeze(-1).to(gate.dtype)
        return F.linear(y.flatten(-2), self.down_proj.permute(1, 0, 2).flatten(1))


class SparseFFN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = linear(HIDDEN, EXPERTS), Experts()
        self.register_buffer("expert_bias", torch.zeros(EXPERTS))

    def forward(self, x):
        """The layer's output and how many tokens chose each expert."""
        with torch.autocast("cuda", enabled=False):
            scores = torch.sigmoid(F.linear(x.float(), self.gate.weight))
        chosen = choose_two(scores + self.expert_bias)
        weights = scores * chosen
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
        return self.experts(x, weights), chosen.sum((0, 1))


def choose_two(scores):
    """A 0/1 mask of the two largest scores; two maxima are cheaper than a sort."""
    columns = torch.arange(EXPERTS, device=scores.device)
    first = columns == scores.argmax(-1, keepdim=True)
    second = columns == scores.masked_fill(first, -math.inf).argmax(-1, keepdim=True)
    return (first | second).float()


class Layer(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.attends = C["layer_types"][index] == ATTENTION
        if self.attends:
            self.self_attn = Attention()
        else:
            self.conv = ShortConv()
        self.feed_forward = DenseFFN() if index < C["num_dense_layers"] else SparseFFN()
        self.operator_norm, self.ffn_norm = RMSNorm(HIDDEN), RMSNorm(HIDDEN)

    def forward(self, h, cos, sin):
        mixer = self.self_attn if self.attends else self.conv
        h = h + mixer(self.operator_norm(h), cos, sin)
        y, load = self.feed_forward(self.ffn_norm(h))
        return h + y, load


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB_SIZE, HIDDEN)
        nn.init.normal_(self.embed_tokens.weight, std=HIDDEN ** -0.5)
        self.layers = nn.ModuleList(Layer(i) for i in range(C["num_hidden_layers"]))
        self.embedding_norm = RMSNorm(HIDDEN)


class DemoModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Backbone()
        for layer in self.model.layers:  # residual branches start small
            for branch in (layer.self_attn if layer.attends else layer.conv).out_proj, getattr(
                    layer.feed_forward, "w2", None):
                if branch is not None:
                    branch.weight.data.mul_(0.3)
            if isinstance(layer.feed_forward, SparseFFN):
                layer.feed_forward.experts.down_proj.data.mul_(0.3)
        half = torch.arange(0, HEAD_DIM, 2) / HEAD_DIM
        frequency = C["rope_parameters"]["rope_theta"] ** -half
        angle = torch.outer(torch.arange(C["max_position_embeddings"]).float(), frequency)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def hidden(self, ids):
        """Hidden states before the final norm, and each sparse layer's expert load."""
        h = self.model.embed_tokens(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        loads = []
        for layer in self.model.layers:
            h, load = layer(h, cos, sin)
            if load is not None:
                loads.append(load)
        return h, loads

    def head(self, h):
        return F.linear(self.model.embedding_norm(h), self.model.embed_tokens.weight)

    def sparse_layers(self):
        return [l.feed_forward for l in self.model.layers if isinstance(l.feed_forward, SparseFFN)]

    def zero_attention(self, zeroed):
        for layer in self.model.layers:
            if layer.attends:
                layer.self_attn.zeroed = zeroed

    def quantizable(self):
        """(weight, viewed as [rows, inputs]) of every matrix an engine would quantise; not the router or embedding."""
        return [p for n, p in self.named_parameters()
                if p.ndim >= 2 and not n.endswith(("conv.conv.weight", "gate.weight", "embed_tokens.weight"))]


@torch.no_grad()
def rounded_to_int4(weight, group):
    """Symmetric 4-bit rounding with one scale per `group` inputs (per 64 or 32 where the width does not divide)."""
    while weight.shape[-1] % group:
        group //= 2
    grouped = weight.unflatten(-1, (-1, group))
    scale = (grouped.abs().amax(-1, keepdim=True) / 7).clamp_min(1e-8)
    return (grouped / scale).round().clamp(-7, 7).mul(scale).flatten(-2)


def export(model, folder):
    """config.json, generation_config.json and model.safetensors (bf16, one tensor per expert matrix)."""
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    generation = {"bos_token_id": BOS, "eos_token_id": [IM_END], "pad_token_id": PAD, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        if name.endswith("experts.gate_up_proj"):
            prefix = name.rsplit(".", 1)[0]
            for j in range(EXPERTS):
                w1, w3 = value[j].chunk(2)
                tensors[f"{prefix}.{j}.w1.weight"], tensors[f"{prefix}.{j}.w3.weight"] = w1, w3
        elif name.endswith("experts.down_proj"):
            for j in range(EXPERTS):
                tensors[f"{name.rsplit('.', 1)[0]}.{j}.w2.weight"] = value[j]
        else:
            tensors[name] = value
    tensors = {n: (t if n.endswith("expert_bias") else t.bfloat16()).contiguous().clone() for n, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
