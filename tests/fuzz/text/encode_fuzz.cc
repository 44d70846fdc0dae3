// Hostile text and hostile ids against a good tokenizer without a normalizer: UTF-8 comes back as
// it went in, anything else is refused, and streaming agrees with decoding at once.
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"

namespace switchyard {
namespace {

nlohmann::json read_json(const std::string& name) {
  std::ifstream in(std::string(SWITCHYARD_SOURCE_DIR) + "/tests/fixtures/tokenizer/" + name);
  return nlohmann::json::parse(in);
}

Tokenizer make_tokenizer() {
  nlohmann::json document = read_json("qwen_subset.json");
  document.merge_patch(read_json("configurations.json")[0]["patch"]);  // llama 3
  Result<Tokenizer> tokenizer = Tokenizer::parse(document.dump());
  CHECK_OK(tokenizer);
  return std::move(tokenizer).value();
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {false, true}) {
    const auto ids =
        tokenizer.encode(text, {.add_special_tokens = false, .parse_special = parse_special});
    if (find_invalid_utf8(text)) {
      CHECK(ids.status().field() == "text");
      continue;
    }
    CHECK_OK(ids);
    CHECK(tokenizer.decode(*ids) == text);
    for (const int32_t id : *ids) CHECK(parse_special || !tokenizer.is_special(id));
  }
}

void check_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) streamed += detokenizer.push(id);
  streamed += detokenizer.finish();
  CHECK(!find_invalid_utf8(streamed));
  CHECK(streamed == tokenizer.decode(ids));
}

}  // namespace
}  // namespace switchyard

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const switchyard::Tokenizer tokenizer = switchyard::make_tokenizer();
  switchyard::check_text(tokenizer, {reinterpret_cast<const char*>(data), size});
  // Small ids are mostly parts of characters.
  switchyard::check_ids(tokenizer, std::vector<int32_t>(data, data + size));
  std::vector<int32_t> any_ids(size / sizeof(int32_t));
  if (!any_ids.empty()) std::memcpy(any_ids.data(), data, any_ids.size() * sizeof(int32_t));
  switchyard::check_ids(tokenizer, any_ids);
  return 0;
}
