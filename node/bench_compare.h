// Holds a report of `switchyard-node bench` against an earlier one of the same model on the same
// device: which of its lines became slower. Knows reports as the JSON that bench writes.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace switchyard {

struct BenchChange {
  std::string line;  // "decode, batch 8, context 1024"
  double base_seconds = 0;
  std::optional<double> seconds;  // none: there was no room for it this time

  // Slower than the base by more than that share of its time.
  [[nodiscard]] bool regressed(double limit) const {
    return !seconds || *seconds > base_seconds * (1 + limit);
  }
};

// Errors name the file: absent, not a report of this schema.
Result<nlohmann::ordered_json> read_bench_report(const std::filesystem::path& file);

// The lines of `base` that `now` measured or had no room for, in the order of `base`; at least one.
// Errors: another model, device, seed or format; no line in common.
Result<std::vector<BenchChange>> compare_bench_reports(const nlohmann::ordered_json& base,
                                                       const nlohmann::ordered_json& now);

// A line for each; true when none regressed.
bool print_changes(const std::vector<BenchChange>& changes, double limit);

}  // namespace switchyard
