#include "client/load/bounded_json.h"

#include <algorithm>

#include "client/load/failure.h"

namespace switchyard {
namespace {

// Deepest nesting of brackets outside strings.
int depth_of(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

absl::StatusOr<nlohmann::json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return failure(text.size(), " bytes of JSON, limit ", limits.bytes);
  }
  if (const int depth = depth_of(text); depth > limits.depth) {
    return failure("JSON nested ", depth, " deep, limit ", limits.depth);
  }
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return failure("this is not JSON");
  return value;
}

}  // namespace switchyard
