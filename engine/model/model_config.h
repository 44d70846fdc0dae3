// ModelConfig: what a model is made of, as plain values read from a checkpoint's config.json.
// Not here: weights (weights/weight_store.h), or any family's spelling of it (arch/).
//
// Everything in a ModelConfig that this file's functions return has been range checked: no product
// of its sizes overflows, and every index is in range.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/result.h"
#include "kernels/backend.h"

namespace switchyard {

// Grouped-query attention with an RMSNorm per head of q and k.
// Tensors: q [heads * head_dim, H], k and v [kv_heads * head_dim, H], out [H, heads * head_dim],
// gains [head_dim].
struct AttentionSpec {
  int heads = 0;
  int kv_heads = 0;  // divides heads
  int head_dim = 0;  // even
  float scale = 0;
  float head_norm_epsilon = 0;
  double rope_theta = 0;
  std::string q_proj{}, k_proj{}, v_proj{}, out_proj{}, q_gain{}, k_gain{};  // tensor names
};

// The gated short convolution of LFM2.
// Tensors: in [3H, H], taps [H, 1, kernel] or [H, kernel], out [H, H].
struct ShortConvSpec {
  int kernel = 0;  // taps; the state keeps kernel - 1 columns
  std::string in_proj{}, taps{}, out_proj{};
};

// down(silu(gate x) * (up x)). Tensors: gate and up [width, H], down [H, width].
struct GatedMlpSpec {
  int64_t width = 0;
  std::string gate{}, up{}, down{};
};

// Tensors: router [experts, H], bias [experts] (no name: none); the experts' own under
// `experts_prefix`, in either layout that WeightStore::experts() knows.
struct MoeSpec {
  int experts = 0;
  int64_t width = 0;
  RouterSpec router{};
  std::string router_weight{}, selection_bias{}, experts_prefix{};
};

// h += mixer(norm(h)); h += feed_forward(norm(h)).
struct LayerSpec {
  std::string mixer_gain, feed_forward_gain;  // [H] each
  std::variant<AttentionSpec, ShortConvSpec> mixer;
  std::variant<GatedMlpSpec, MoeSpec> feed_forward;
};

struct ModelConfig {
  std::string architecture;  // as config.json spells it: "Lfm2MoeForCausalLM"
  int vocab_size = 0;
  int hidden_size = 0;     // H
  int context_tokens = 0;  // the most positions the model was made for
  float norm_epsilon = 0;
  DType stored_type = DType::kBf16;    // what the checkpoint says that it holds
  std::optional<int32_t> bos_token;    // ids are in the vocabulary
  std::vector<int32_t> eos_tokens;     // any of them ends an answer; sorted, may be empty
  std::optional<int32_t> pad_token;    // of no use to the engine; shown by `inspect`
  std::string embedding, final_gain;   // tensor names: [vocab, H], [H]
  std::string head;                    // [vocab, H]; the same name as `embedding` when tied
  std::vector<std::string> ignorable;  // tensors that a checkpoint may hold and the model not use
  std::vector<LayerSpec> layers;

  [[nodiscard]] bool tied_head() const { return head == embedding; }
};

// Reads FOLDER/config.json, and the end-of-sequence ids of FOLDER/generation_config.json if it is
// there. Errors name the file and the field; an unknown architecture's lists the supported ones.
Result<ModelConfig> load_model_config(const std::filesystem::path& folder);

// The same from texts; `generation_config` may be empty. Any bytes are safe.
Result<ModelConfig> parse_model_config(std::string_view config, std::string_view generation_config);

// Architectures that parse_model_config() accepts, as config.json spells them.
std::vector<std::string_view> supported_architectures();

// Parameters in all, and those one token's forward pass reads: the chosen experts only, and an
// embedding table only where it is the head too.
struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;
};
ParameterCount count_parameters(const ModelConfig& config);

// Bytes a sequence's past takes: keys and values per token of context, and the recurrent state.
int64_t kv_bytes_per_token(const ModelConfig& config, DType kv_type);
int64_t state_bytes_per_sequence(const ModelConfig& config);

}  // namespace switchyard
