// JSON from bytes that we did not write: parsed only after its depth and number of values were
// found to be within limits, so that a small hostile file cannot take gigabytes.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/base/result.h"

namespace switchyard {

struct JsonLimits {
  size_t bytes = 0;
  size_t values = 0;  // scalars, arrays and objects together
  size_t depth = 0;
};

// Errors say what is wrong, and where if it is the syntax; the caller adds the file.
Result<nlohmann::json> parse_bounded_json(std::string_view text, const JsonLimits& limits);

}  // namespace switchyard
