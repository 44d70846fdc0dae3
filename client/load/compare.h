// Holds the report of a load against an earlier one of the same load: which figures became worse.
// Knows reports as the JSON that report_json.h writes, and takes any bytes for one.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/load/statistics.h"

namespace switchyard {

inline constexpr size_t kMostReportBytes = 64 << 20;
inline constexpr int kMostReportDepth = 64;

// Errors: too long, too deep, no JSON, another schema.
absl::StatusOr<nlohmann::json> parse_report(std::string_view text);
// Errors name the file.
absl::StatusOr<nlohmann::json> read_report(const std::filesystem::path& file);

struct FigureChange {
  std::string name;  // "TTFT p99, ms"
  enum class Better { kLower, kHigher } better = Better::kLower;
  Estimate base;
  std::optional<Estimate> now;  // none: this report does not have it
  // Fewer than five values lie beyond it in one of the reports: shown, but held to nothing.
  bool few = false;
  // Smaller differences are of clocks and threads, not of what was measured.
  double least_difference = 0;

  // Worse than the base by more than that share of it.
  [[nodiscard]] bool regressed(double limit) const;
  // Each value could as well be the other's.
  [[nodiscard]] bool overlaps() const;
};

// The figures of `base`, in its order; at least one. Two sweeps are compared by the rates they
// found. Errors: another workload, seed, model or objectives; a report without figures.
absl::StatusOr<std::vector<FigureChange>> compare_reports(const nlohmann::json& base,
                                                          const nlohmann::json& now);

// A table; true when none regressed.
bool write_changes(const std::vector<FigureChange>& changes, double limit, std::ostream& out);

}  // namespace switchyard
