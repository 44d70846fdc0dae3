#include "node/inspect.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "engine/model/model.h"
#include "engine/model/model_config.h"
#include "kernels/null/null_backend.h"

namespace switchyard {
namespace {

// The widths of one kind of layer, in a line.
std::string describe(const LayerSpec& layer) {
  std::string text;
  if (const auto* attention = std::get_if<AttentionSpec>(&layer.mixer)) {
    text = "attention " + std::to_string(attention->heads) + "/" +
           std::to_string(attention->kv_heads) + " heads of " + std::to_string(attention->head_dim);
  } else {
    text = "short convolution of " + std::to_string(std::get<ShortConvSpec>(layer.mixer).kernel);
  }
  if (const auto* moe = std::get_if<MoeSpec>(&layer.feed_forward)) {
    return text + ", " + std::to_string(moe->router.top_k) + " of " + std::to_string(moe->experts) +
           " experts of " + std::to_string(moe->width);
  }
  return text + ", feed-forward of " +
         std::to_string(std::get<GatedMlpSpec>(layer.feed_forward).width);
}

// "0-1,3": which layers are alike.
std::string ranges(const std::vector<size_t>& layers) {
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(layers[i]);
    if (last > i) text += "-" + std::to_string(layers[last]);
    i = last + 1;
  }
  return text;
}

// What the weights take in memory, kept so, scales included.
int64_t weight_bytes(const ModelConfig& config, WeightChoice choice) {
  NullBackend null(DType::kBf16);
  const Result<std::unique_ptr<const Model>> model =
      Model::load(config, WeightStore(shapes_only(), null, {.weights = choice}));
  CHECK_OK(model);
  return (*model)->weight_bytes();
}

nlohmann::ordered_json facts_of(const ModelConfig& config) {
  const ParameterCount parameters = count_parameters(config);
  std::map<std::string, std::vector<size_t>> alike;
  std::vector<std::string> order;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const std::string kind = describe(config.layers[i]);
    if (alike[kind].empty()) order.push_back(kind);
    alike[kind].push_back(i);
  }
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const std::string& kind : order) {
    layers.push_back({{"layers", ranges(alike[kind])}, {"what", kind}});
  }
  return {
      {"architecture", config.architecture},
      {"vocabulary", config.vocab_size},
      {"hidden", config.hidden_size},
      {"context_tokens", config.context_tokens},
      {"tied_head", config.tied_head()},
      {"stored_type", name_of(config.stored_type)},
      {"eos_tokens", config.eos_tokens},
      {"layers", layers},
      {"parameters", parameters.total},
      {"active_parameters", parameters.active},
      {"weight_bytes_bf16", parameters.total * 2},
      {"weight_bytes_fp8", weight_bytes(config, WeightChoice::kFp8)},
      {"weight_bytes_int8", weight_bytes(config, WeightChoice::kInt8)},
      {"weight_bytes_int4", weight_bytes(config, WeightChoice::kInt4)},
      {"weight_bytes_per_token_bf16", parameters.active * 2},
      {"kv_bytes_per_token_bf16", kv_bytes_per_token(config, DType::kBf16)},
      {"state_bytes_per_sequence", state_bytes_per_sequence(config)},
  };
}

void print(const nlohmann::ordered_json& facts) {
  for (const auto& [name, value] : facts.items()) {
    if (name == "layers") {
      std::printf("layers\n");
      for (const auto& kind : value) {
        std::printf("  %-24s %s\n", kind["layers"].get<std::string>().c_str(),
                    kind["what"].get<std::string>().c_str());
      }
    } else {
      const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
      std::printf("%-28s %s\n", name.c_str(), text.c_str());
    }
  }
}

}  // namespace

int inspect_main(std::span<const char* const> arguments) {
  CLI::App app("Shows what a model folder holds and what a sequence of it needs.",
               "switchyard-node inspect");
  std::string folder;
  bool json = false;
  app.add_option("DIR", folder, "folder with config.json")->required();
  app.add_flag("--json", json, "one JSON object instead of a table");
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Result<ModelConfig> config = load_model_config(folder);
  if (!config) {
    std::fprintf(stderr, "switchyard-node inspect: %s\n", config.status().message().c_str());
    return 1;
  }
  const nlohmann::ordered_json facts = facts_of(*config);
  if (json) {
    std::printf("%s\n", facts.dump(2).c_str());
  } else {
    print(facts);
  }
  return 0;
}

}  // namespace switchyard
