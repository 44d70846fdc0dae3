#include "client/load/timeline.h"

#include <algorithm>
#include <cmath>

#include "client/load/figures.h"
#include "client/load/shares.h"

namespace switchyard {
namespace {

constexpr double kMostWindows = 600;

// Values of each window until they are percentiles.
struct WindowValues {
  std::vector<double> first_tokens;
  std::vector<double> gaps;
};

void set_percentiles(std::vector<double>& values, double& p50, double& p99) {
  if (values.empty()) return;
  std::ranges::sort(values);
  p50 = quantile(values, 0.5);
  p99 = quantile(values, 0.99);
}

}  // namespace

Timeline timeline_of(const LoadRun& run) {
  Timeline timeline;
  const double seconds = static_cast<double>(std::max<int64_t>(run.facts.wall_ns, 0)) / 1e9;
  timeline.width_seconds = std::max(1.0, std::ceil(seconds / kMostWindows));
  timeline.windows.resize(
      static_cast<size_t>(std::max(1.0, std::ceil(seconds / timeline.width_seconds))));
  for (size_t i = 0; i < timeline.windows.size(); ++i) {
    timeline.windows[i].from_seconds = static_cast<double>(i) * timeline.width_seconds;
  }
  std::vector<WindowValues> values(timeline.windows.size());
  const auto index_of = [&](int64_t at_ns) {
    const double at = static_cast<double>(std::max<int64_t>(at_ns, 0)) / 1e9;
    return std::min(static_cast<size_t>(at / timeline.width_seconds), values.size() - 1);
  };
  const auto window_of = [&](int64_t at_ns) -> Window& {
    return timeline.windows[index_of(at_ns)];
  };
  for (const RequestRecord& record : run.records) {
    if (record.intended_ns >= 0) ++window_of(record.intended_ns).intended;
    if (record.sent_ns >= 0) ++window_of(record.sent_ns).sent;
    for (const TokenArrival& arrival : record.arrivals) {
      window_of(arrival.at_ns).output_tokens += std::max(arrival.tokens, 0);
    }
    if (record.fault != LoadFault::kNone || record.end_ns < 0 || record.cut) continue;
    Window& end = window_of(record.end_ns);
    if (!completed(record)) {
      ++end.failed;
      end.refused += is_refusal(record) ? 1 : 0;
      continue;
    }
    ++end.completed;
    if (const auto first = ttft_ms(record)) {
      values[index_of(record.intended_ns)].first_tokens.push_back(*first);
    }
    each_gap(record, [&](double gap_ms, const TokenArrival& arrival) {
      std::vector<double>& gaps = values[index_of(arrival.at_ns)].gaps;
      gaps.insert(gaps.end(), static_cast<size_t>(arrival.tokens), gap_ms);
    });
  }
  for (const LoadSample& sample : run.facts.samples) {
    Window& window = window_of(sample.at_ns);
    window.in_flight = std::max<int64_t>(window.in_flight, sample.in_flight);
    window.held_back = std::max<int64_t>(window.held_back, sample.held_back);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    Window& window = timeline.windows[i];
    set_percentiles(values[i].first_tokens, window.ttft_p50_ms, window.ttft_p99_ms);
    set_percentiles(values[i].gaps, window.itl_p50_ms, window.itl_p99_ms);
  }
  return timeline;
}

}  // namespace switchyard
