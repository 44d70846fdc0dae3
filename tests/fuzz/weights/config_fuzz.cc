// Any bytes as config.json, and after a zero byte as generation_config.json: refused, or a config
// whose sizes can be multiplied.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "engine/model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(text.find('\0'), text.size());
  const Result<ModelConfig> config = parse_model_config(
      text.substr(0, cut), cut < text.size() ? text.substr(cut + 1) : std::string_view());
  if (!config) {
    CHECK(!config.status().message().empty());
    return 0;
  }
  const ParameterCount count = count_parameters(*config);
  CHECK(count.active > 0 && count.total >= count.active);
  CHECK(!config->layers.empty());
  CHECK(kv_bytes_per_token(*config, DType::kF32) + state_bytes_per_sequence(*config) > 0);
  for (const int32_t token : config->eos_tokens) CHECK(token >= 0 && token < config->vocab_size);
  return 0;
}
