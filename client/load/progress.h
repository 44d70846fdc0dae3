// The line that shows a run while it goes on: rewritten on a terminal, every ten seconds a new one
// elsewhere. Also the percentiles it shows, which have to be cheap: the report's are exact
// (statistics.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <iosfwd>
#include <string>

#include "client/load/run.h"

namespace switchyard {

// Percentiles so far, of values that any thread adds without waiting: counts in buckets whose
// bounds rise by 1/32, so that a percentile is at most 3.2 % too high. Times below 10 us count as
// that, above 44 minutes as these.
class LiveLatency {
 public:
  void add(int64_t ns);
  // The upper bound of the bucket that `share` of the values reach; -1 without values. Beside
  // threads that add, of some moment meanwhile.
  [[nodiscard]] double milliseconds(double share) const;

 private:
  static constexpr size_t kBuckets = 896;

  std::array<std::atomic<int64_t>, kBuckets> counts_{};
};

class ProgressLine {
 public:
  enum class Kind { kTerminal, kLog };

  // `out` must outlive it.
  ProgressLine(std::ostream& out, Kind kind) : out_(out), kind_(kind) {}
  // Ends the line that is being rewritten.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // One thread, as often as it likes: writes on a terminal every quarter of a second, in a log
  // every ten seconds of the run's time.
  void show(const LoadProgress& progress, const LiveLatency& first_tokens);

 private:
  std::ostream& out_;
  const Kind kind_;
  int64_t shown_ns_ = -1;  // by the run's clock
  LoadSample shown_;
  size_t width_ = 0;  // of what stands on the terminal's line
};

// "12 s of 60 s: 240 sent, 12 in flight, 228 done, 0 failed, 1234 tokens/s, TTFT p50 81 ms, ..".
// tokens/s since `before`.
std::string progress_text(const LoadProgress& progress,
                          const LoadSample& before,
                          const LiveLatency& first_tokens);

}  // namespace switchyard
