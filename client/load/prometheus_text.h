// Reads a page of the Prometheus text format (version 0.0.4): its series and their values.
// Takes bytes that others wrote, within limits; comments (HELP, TYPE) and timestamps are checked
// for shape and dropped. Not OpenMetrics.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace switchyard {

struct MetricSeries {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;

  // Empty where there is no such label, as in Prometheus.
  [[nodiscard]] std::string_view label(std::string_view label_name) const;
};

struct MetricsPageLimits {
  size_t series = 200'000;
  size_t labels = 64;  // of one series
};

// Fails at the first line that is none, and names it.
absl::StatusOr<std::vector<MetricSeries>> parse_prometheus_text(std::string_view page,
                                                                const MetricsPageLimits& limits);

}  // namespace switchyard
