#include "client/load/rates.h"

#include <algorithm>

namespace switchyard {
namespace {

constexpr double kMostWindows = 600;

}  // namespace

RateCounter::RateCounter(const Span& span) : span_(span) {
  if (span.seconds() > 0) {
    windows_.resize(static_cast<size_t>(std::clamp(span.seconds(), 1.0, kMostWindows)));
  }
}

void RateCounter::add(int64_t at_ns, double amount) {
  if (at_ns < span_.from_ns || at_ns >= span_.to_ns) return;
  const double at =
      static_cast<double>(at_ns - span_.from_ns) / static_cast<double>(span_.to_ns - span_.from_ns);
  const auto window = static_cast<size_t>(at * static_cast<double>(windows_.size()));
  windows_[std::min(window, windows_.size() - 1)] += amount;
}

Estimate RateCounter::per_second(uint64_t seed) const {
  std::vector<GroupTotal> totals;
  for (const double amount : windows_) {
    totals.push_back({amount, span_.seconds() / static_cast<double>(windows_.size())});
  }
  return bootstrap_ratio(totals, seed);
}

Span measured_span(const LoadRun& run) {
  Span span{run.facts.measured_from_ns, run.facts.measured_to_ns};
  int64_t measured = 0;
  int64_t ended = 0;
  int64_t last_end_ns = span.to_ns;
  for (const RequestRecord& record : run.records) {
    if (!record.measured || record.end_ns < 0) continue;
    ++measured;
    if (record.end_ns < span.to_ns) ++ended;
    last_end_ns = std::max(last_end_ns, record.end_ns);
  }
  if (2 * ended < measured) span.to_ns = last_end_ns;
  return span;
}

Rates rates_of(const LoadRun& run) {
  const Span span = measured_span(run);
  RateCounter requests(span);
  RateCounter output(span);
  RateCounter input(span);
  for (const RequestRecord& record : run.records) {
    if (completed(record)) requests.add(record.end_ns, 1);
    bool first = true;
    for (const TokenArrival& arrival : record.arrivals) {
      if (arrival.tokens <= 0) continue;
      output.add(arrival.at_ns, arrival.tokens);
      if (first) input.add(arrival.at_ns, std::max(record.prompt_tokens, 0));
      first = false;
    }
  }
  Rates rates;
  rates.from_seconds = static_cast<double>(span.from_ns) / 1e9;
  rates.to_seconds = static_cast<double>(span.to_ns) / 1e9;
  rates.requests_per_second = requests.per_second(run.facts.seed);
  rates.output_tokens_per_second = output.per_second(run.facts.seed);
  rates.input_tokens_per_second = input.per_second(run.facts.seed);
  return rates;
}

}  // namespace switchyard
