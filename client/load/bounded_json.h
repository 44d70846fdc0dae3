// Parses JSON that others wrote, bounded in size and depth. Knows nothing of what it says.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string_view>

namespace switchyard {

struct JsonLimits {
  size_t bytes = 1 << 20;
  int depth = 16;
};

absl::StatusOr<nlohmann::json> parse_json(std::string_view text, const JsonLimits& limits);

}  // namespace switchyard
