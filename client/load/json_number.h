// Measured numbers in a report's JSON.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

namespace switchyard {

// Six significant digits: more than a clock is worth, and a file half as long.
inline nlohmann::ordered_json json_number(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == 0 || std::abs(value) >= 1e6) return std::round(value * 10) / 10;
  const double scale = std::pow(10.0, 5 - std::floor(std::log10(std::abs(value))));
  return std::round(value * scale) / scale;
}

// Negative: not known.
inline nlohmann::ordered_json json_known(double value) {
  return value < 0 ? nlohmann::ordered_json() : json_number(value);
}

}  // namespace switchyard
