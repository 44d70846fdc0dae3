// LoadReporter: what balancers hear of this node, as ORCA messages (gRFC A51): how busy it is, how
// fast it answers. Made anew now and then by one thread, read by all; who hears it is others' work.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/base/clock.h"
#include "engine/engine.h"
#include "node/metrics.h"

namespace switchyard {

// How fast a count has grown over the last seconds. One thread.
class RateWindow {
 public:
  explicit RateWindow(Duration length) : length_(length) {}

  void add(TimePoint now, uint64_t count);
  [[nodiscard]] double per_second() const;

 private:
  struct Sample {
    TimePoint at;
    uint64_t count;
  };
  const Duration length_;
  std::deque<Sample> samples_;
};

class LoadReporter {
 public:
  // One caller at a time. `rows`: how many sequences run at once.
  void refresh(TimePoint now, const EngineLoad& load, int rows, const Metrics& metrics);

  // The last one, serialized; empty before the first. Any thread.
  [[nodiscard]] std::string serialized() const;

 private:
  RateWindow answers_{std::chrono::seconds(5)};
  RateWindow faults_{std::chrono::seconds(5)};
  mutable std::mutex mutex_;
  std::string serialized_;  // guarded by mutex_
};

}  // namespace switchyard
