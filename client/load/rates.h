// Rates of a run: what was done per second in a span of its time, and how sure that is.
// Counts what happened when; how long anyone waited for it is for figures.h.
#pragma once

#include <cstdint>
#include <vector>

#include "client/load/figures.h"

namespace switchyard {

// Adds up what happens in a span, in up to 600 equal windows of a second or more: these are what
// is resampled for the interval. Neighbouring windows are not independent, so the interval is on
// the narrow side; fewer than two windows have none.
class RateCounter {
 public:
  explicit RateCounter(const Span& span);
  // Outside the span: nothing.
  void add(int64_t at_ns, double amount);
  [[nodiscard]] Estimate per_second(uint64_t seed) const;

 private:
  Span span_;
  std::vector<double> windows_;
};

Span measured_span(const LoadRun& run);
Rates rates_of(const LoadRun& run);

}  // namespace switchyard
