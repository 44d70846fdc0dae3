#include "engine/model/model_config.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/model/arch/config_fields.h"
#include "engine/model/arch/lfm2.h"
#include "engine/weights/bounded_json.h"
#include "engine/weights/mapped_file.h"

namespace switchyard {
namespace {

constexpr JsonLimits kConfigLimits{.bytes = 1'000'000, .values = 50'000, .depth = 32};
constexpr char kConfigFile[] = "config.json";
constexpr char kGenerationFile[] = "generation_config.json";

struct Architecture {
  std::string_view name;
  ModelConfig (*read)(ConfigFields& fields);
};

constexpr Architecture kArchitectures[] = {
    {"Lfm2MoeForCausalLM", &read_lfm2_moe},
    {"Lfm2ForCausalLM", &read_lfm2},
};

Result<const Architecture*> find_architecture(ConfigFields& fields) {
  const std::vector<std::string> names = fields.texts({"architectures"});
  if (!fields.status().ok()) return fields.status();
  for (const Architecture& known : kArchitectures) {
    if (std::find(names.begin(), names.end(), known.name) != names.end()) return &known;
  }
  std::string message = names.empty() ? "is missing" : "'" + names.front() + "' is not supported";
  message += "; supported are";
  for (const Architecture& known : kArchitectures) message += " " + std::string(known.name);
  return Status::invalid("architectures", message);
}

DType read_stored_type(ConfigFields& fields) {
  const std::string name = fields.text({"dtype", "torch_dtype"}).value_or("bfloat16");
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name != "bfloat16") {
    fields.reject("dtype", "'" + name + "' is not float32, float16 or bfloat16");
  }
  return DType::kBf16;
}

std::optional<int32_t> read_token(ConfigFields& fields, std::string_view name, int vocab_size) {
  if (!fields.has({name})) return std::nullopt;
  return static_cast<int32_t>(fields.integer({name}, {0, vocab_size - 1}));
}

// Either file may name tokens, and each of those named ends an answer.
void add_tokens(ConfigFields& fields, ModelConfig& config) {
  for (const int64_t token : fields.integers({"eos_token_id"}, {0, config.vocab_size - 1})) {
    config.eos_tokens.push_back(static_cast<int32_t>(token));
  }
  if (!config.bos_token) config.bos_token = read_token(fields, "bos_token_id", config.vocab_size);
  if (!config.pad_token) config.pad_token = read_token(fields, "pad_token_id", config.vocab_size);
}

Result<nlohmann::json> parse_object(std::string_view text) {
  Result<nlohmann::json> json = parse_bounded_json(text, kConfigLimits);
  if (json && !json->is_object()) return Status(Code::kInvalidArgument, "not a JSON object");
  return json;
}

Result<ModelConfig> parse_config(std::string_view text) {
  const Result<nlohmann::json> json = parse_object(text);
  if (!json) return json.status();
  ConfigFields fields(*json);
  const Result<const Architecture*> architecture = find_architecture(fields);
  if (!architecture) return architecture.status();
  ModelConfig config = (*architecture)->read(fields);
  config.architecture = (*architecture)->name;
  config.stored_type = read_stored_type(fields);
  add_tokens(fields, config);
  if (!fields.status().ok()) return fields.status();
  return config;
}

Status add_generation_config(std::string_view text, ModelConfig& config) {
  const Result<nlohmann::json> json = parse_object(text);
  if (!json) return json.status();
  ConfigFields fields(*json);
  add_tokens(fields, config);
  return fields.status();
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

int64_t attention_parameters(const AttentionSpec& spec, int64_t hidden) {
  const int64_t heads = int64_t{2} * (spec.heads + spec.kv_heads);  // q and out, k and v
  return heads * spec.head_dim * hidden + int64_t{2} * spec.head_dim;
}

int64_t mixer_parameters(const LayerSpec& layer, int64_t hidden) {
  if (const auto* attention = std::get_if<AttentionSpec>(&layer.mixer)) {
    return attention_parameters(*attention, hidden);
  }
  const auto& conv = std::get<ShortConvSpec>(layer.mixer);
  return 4 * hidden * hidden + conv.kernel * hidden;
}

ParameterCount feed_forward_parameters(const LayerSpec& layer, int64_t hidden) {
  if (const auto* mlp = std::get_if<GatedMlpSpec>(&layer.feed_forward)) {
    const int64_t all = 3 * mlp->width * hidden;
    return {.total = all, .active = all};
  }
  const auto& moe = std::get<MoeSpec>(layer.feed_forward);
  const int64_t expert = 3 * moe.width * hidden;
  const int64_t router = moe.experts * (hidden + (moe.selection_bias.empty() ? 0 : 1));
  return {.total = router + moe.experts * expert, .active = router + moe.router.top_k * expert};
}

}  // namespace

std::vector<std::string_view> supported_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& known : kArchitectures) names.push_back(known.name);
  return names;
}

Result<ModelConfig> parse_model_config(std::string_view config_text,
                                       std::string_view generation_config) {
  Result<ModelConfig> config = parse_config(config_text);
  if (!config) return config.status().within(kConfigFile);
  if (!generation_config.empty()) {
    const Status status = add_generation_config(generation_config, *config);
    if (!status.ok()) return status.within(kGenerationFile);
  }
  std::vector<int32_t>& eos = config->eos_tokens;
  std::sort(eos.begin(), eos.end());
  eos.erase(std::unique(eos.begin(), eos.end()), eos.end());
  return config;
}

Result<ModelConfig> load_model_config(const std::filesystem::path& folder) {
  const Result<MappedFile> config = MappedFile::open(folder / kConfigFile);
  if (!config) return config.status();
  const Result<MappedFile> generation = MappedFile::open(folder / kGenerationFile);
  if (!generation && generation.status().code() != Code::kNotFound) return generation.status();
  Result<ModelConfig> parsed =
      parse_model_config(text_of(*config), generation ? text_of(*generation) : std::string_view());
  if (!parsed) return parsed.status().within(folder.string());
  return parsed;
}

ParameterCount count_parameters(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t table = hidden * config.vocab_size;
  ParameterCount count{.total = config.tied_head() ? table : 2 * table, .active = table};
  int64_t both = hidden;  // the final norm
  for (const LayerSpec& layer : config.layers) {
    both += 2 * hidden + mixer_parameters(layer, hidden);
    const ParameterCount feed_forward = feed_forward_parameters(layer, hidden);
    count.total += feed_forward.total;
    count.active += feed_forward.active;
  }
  return {.total = count.total + both, .active = count.active + both};
}

int64_t kv_bytes_per_token(const ModelConfig& config, DType kv_type) {
  int64_t elements = 0;
  for (const LayerSpec& layer : config.layers) {
    if (const auto* attention = std::get_if<AttentionSpec>(&layer.mixer)) {
      elements += int64_t{2} * attention->kv_heads * attention->head_dim;
    }
  }
  return elements * bytes_of(kv_type);
}

int64_t state_bytes_per_sequence(const ModelConfig& config) {
  int64_t elements = 0;
  for (const LayerSpec& layer : config.layers) {
    if (const auto* conv = std::get_if<ShortConvSpec>(&layer.mixer)) {
      elements += int64_t{conv->kernel - 1} * config.hidden_size;
    }
  }
  return elements * bytes_of(DType::kF32);
}

}  // namespace switchyard
