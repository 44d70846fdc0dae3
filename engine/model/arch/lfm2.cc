#include "engine/model/arch/lfm2.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace switchyard {
namespace {

// Far above any model of the family, and small enough that no product of sizes overflows.
constexpr Range<int64_t> kVocabulary{1, 1 << 22};
constexpr Range<int64_t> kHidden{1, 1 << 16};
constexpr Range<int64_t> kWidth{1, 1 << 20};
constexpr Range<int64_t> kLayers{1, 512};
constexpr Range<int64_t> kHeads{1, 1024};
constexpr Range<int64_t> kExperts{1, 1024};
constexpr Range<int64_t> kTaps{2, 16};
constexpr Range<int64_t> kContext{1, 1 << 24};
constexpr Range<double> kEpsilon{1e-12, 1e-2};
constexpr Range<double> kTheta{1, 1e12};
constexpr Range<double> kFactor{1e-3, 1e3};

constexpr float kRenormaliseEpsilon = 1e-6F;  // a constant of the reference code, not of the config

std::string layer_prefix(size_t layer) { return "model.layers." + std::to_string(layer) + "."; }

// Which layers have attention; the others have a short convolution.
std::vector<bool> attention_layers(ConfigFields& fields, size_t layers) {
  std::vector<bool> attention(layers, false);
  if (fields.has({"layer_types"})) {
    const std::vector<std::string> types = fields.texts({"layer_types"});
    if (types.size() != layers) {
      fields.reject("layer_types", "has " + std::to_string(types.size()) + " entries for " +
                                       std::to_string(layers) + " layers");
      return attention;
    }
    for (size_t i = 0; i < layers; ++i) {
      attention[i] = types[i] == "full_attention";
      if (!attention[i] && types[i] != "conv") {
        fields.reject("layer_types", "'" + types[i] + "' is neither conv nor full_attention");
      }
    }
    return attention;
  }
  if (!fields.has({"full_attn_idxs"})) fields.reject("layer_types", "is missing");
  const Range<int64_t> index{0, static_cast<int64_t>(layers) - 1};
  for (const int64_t layer : fields.integers({"full_attn_idxs"}, index)) {
    attention[static_cast<size_t>(layer)] = true;
  }
  return attention;
}

AttentionSpec read_attention(ConfigFields& fields, const ModelConfig& config) {
  const auto heads = static_cast<int>(fields.integer({"num_attention_heads"}, kHeads));
  const auto kv_heads = static_cast<int>(fields.integer({"num_key_value_heads"}, kHeads));
  if (config.hidden_size % heads != 0 || (config.hidden_size / heads) % 2 != 0) {
    fields.reject("num_attention_heads", std::to_string(heads) + " heads do not cut hidden_size " +
                                             std::to_string(config.hidden_size) +
                                             " into even parts of an even size");
  }
  if (heads % kv_heads != 0) {
    fields.reject("num_key_value_heads",
                  std::to_string(kv_heads) + " does not divide " + std::to_string(heads));
  }
  const int head_dim = config.hidden_size / heads;
  if (fields.integer({"head_dim"}, kHidden, head_dim) != head_dim) {
    fields.reject("head_dim", "only hidden_size / num_attention_heads is supported");
  }
  if (fields.text({"rope_parameters.rope_type"}).value_or("default") != "default" ||
      fields.has({"rope_scaling"})) {
    fields.reject("rope_parameters", "rotary scaling is not supported");
  }
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim))),
          .head_norm_epsilon = config.norm_epsilon,
          .rope_theta =
              fields.number({"rope_parameters.rope_theta", "rope_theta", "theta"}, kTheta, 1e6)};
}

AttentionSpec named(AttentionSpec spec, const std::string& layer) {
  const std::string prefix = layer + "self_attn.";
  spec.q_proj = prefix + "q_proj.weight";
  spec.k_proj = prefix + "k_proj.weight";
  spec.v_proj = prefix + "v_proj.weight";
  spec.out_proj = prefix + "out_proj.weight";
  spec.q_gain = prefix + "q_layernorm.weight";
  spec.k_gain = prefix + "k_layernorm.weight";
  return spec;
}

ShortConvSpec short_conv(int kernel, const std::string& layer) {
  return {.kernel = kernel,
          .in_proj = layer + "conv.in_proj.weight",
          .taps = layer + "conv.conv.weight",
          .out_proj = layer + "conv.out_proj.weight"};
}

GatedMlpSpec dense(int64_t width, const std::string& layer) {
  const std::string prefix = layer + "feed_forward.";
  return {.width = width,
          .gate = prefix + "w1.weight",
          .up = prefix + "w3.weight",
          .down = prefix + "w2.weight"};
}

// What both families share. `feed_forward` makes the second half of layer i.
using FeedForwardOf = std::function<std::variant<GatedMlpSpec, MoeSpec>(size_t layer)>;

ModelConfig read_common(ConfigFields& fields, const FeedForwardOf& feed_forward) {
  ModelConfig config;
  config.vocab_size = static_cast<int>(fields.integer({"vocab_size"}, kVocabulary));
  config.hidden_size = static_cast<int>(fields.integer({"hidden_size"}, kHidden));
  config.context_tokens =
      static_cast<int>(fields.integer({"max_position_embeddings"}, kContext, 128000));
  config.norm_epsilon = static_cast<float>(fields.number({"norm_eps"}, kEpsilon, 1e-5));
  config.embedding = "model.embed_tokens.weight";
  config.final_gain = "model.embedding_norm.weight";  // the last norm, whatever its name says
  config.ignorable.emplace_back("model.rotary_emb.inv_freq");  // the model computes its own
  if (fields.flag({"tie_embedding", "tie_word_embeddings"}, true)) {
    config.head = config.embedding;
    config.ignorable.emplace_back("lm_head.weight");  // a copy of the embedding
  } else {
    config.head = "lm_head.weight";
  }
  if (fields.flag({"conv_bias"}, false)) fields.reject("conv_bias", "true is not supported");

  const auto layers = static_cast<size_t>(fields.integer({"num_hidden_layers"}, kLayers));
  const std::vector<bool> attention = attention_layers(fields, layers);
  const AttentionSpec attention_spec = read_attention(fields, config);
  const auto kernel = static_cast<int>(fields.integer({"conv_L_cache"}, kTaps, 3));
  for (size_t i = 0; i < layers; ++i) {
    const std::string prefix = layer_prefix(i);
    LayerSpec layer{.mixer_gain = prefix + "operator_norm.weight",
                    .feed_forward_gain = prefix + "ffn_norm.weight",
                    .mixer = short_conv(kernel, prefix),
                    .feed_forward = feed_forward(i)};
    if (attention[i]) {
      layer.mixer = named(attention_spec, prefix);
      config.ignorable.push_back(prefix + "self_attn.rotary_emb.inv_freq");
    }
    config.layers.push_back(std::move(layer));
  }
  return config;
}

// Older files give a width from which the real one follows; newer ones the real one, and say so.
int64_t dense_width(ConfigFields& fields) {
  int64_t width = fields.integer({"block_ff_dim", "intermediate_size"}, kWidth);
  const int64_t multiple = fields.integer({"block_multiple_of"}, kWidth, 256);
  const double factor = fields.number({"block_ffn_dim_multiplier"}, kFactor, 1.0);
  if (!fields.flag({"block_auto_adjust_ff_dim"}, true)) return width;
  width = 2 * width / 3;
  if (!fields.is_null("block_ffn_dim_multiplier")) {
    width = static_cast<int64_t>(factor * static_cast<double>(width));
    width = (width + multiple - 1) / multiple * multiple;
  }
  if (width < kWidth.least || width > kWidth.most) {
    fields.reject("block_ff_dim",
                  "is adjusted to " + std::to_string(width) + ", which is not in [1, 2^20]");
    return kWidth.least;
  }
  return width;
}

}  // namespace

ModelConfig read_lfm2(ConfigFields& fields) {
  const int64_t width = dense_width(fields);
  return read_common(fields, [&](size_t layer) { return dense(width, layer_prefix(layer)); });
}

ModelConfig read_lfm2_moe(ConfigFields& fields) {
  const int64_t width = fields.integer({"intermediate_size"}, kWidth);
  const auto dense_layers =
      static_cast<size_t>(fields.integer({"num_dense_layers"}, {0, kLayers.most}, 2));
  MoeSpec moe{.experts = static_cast<int>(fields.integer({"num_experts"}, kExperts)),
              .width = fields.integer({"moe_intermediate_size"}, kWidth)};
  moe.router.score = RouterScore::kSigmoid;
  moe.router.top_k = static_cast<int>(fields.integer({"num_experts_per_tok"}, {1, moe.experts}));
  moe.router.scale = static_cast<float>(fields.number({"routed_scaling_factor"}, kFactor, 1.0));
  if (fields.flag({"norm_topk_prob"}, true)) moe.router.renormalise_epsilon = kRenormaliseEpsilon;
  const bool biased = fields.flag({"use_expert_bias"}, true);

  return read_common(fields, [&](size_t layer) -> std::variant<GatedMlpSpec, MoeSpec> {
    const std::string prefix = layer_prefix(layer);
    if (layer < dense_layers) return dense(width, prefix);
    MoeSpec spec = moe;
    spec.router_weight = prefix + "feed_forward.gate.weight";
    if (biased) spec.selection_bias = prefix + "feed_forward.expert_bias";
    spec.experts_prefix = prefix + "feed_forward.experts";
    return spec;
  });
}

}  // namespace switchyard
