// Timeline: a run in windows of time, warm-up included, for charts and for who looks for the
// moment at which it went wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "client/load/run.h"

namespace switchyard {

// What happened in [from, from + width) of the run's time.
struct Window {
  double from_seconds = 0;
  int64_t intended = 0;
  int64_t sent = 0;
  int64_t completed = 0;
  int64_t failed = 0;   // broken ones too; what went wrong on purpose is left out
  int64_t refused = 0;  // of the failed
  int64_t output_tokens = 0;
  int64_t in_flight = 0;  // the most that was sampled in it
  int64_t held_back = 0;
  // Of requests meant to be sent in it, and of gaps that ended in it; -1: there were none.
  double ttft_p50_ms = -1;
  double ttft_p99_ms = -1;
  double itl_p50_ms = -1;
  double itl_p99_ms = -1;
};

struct Timeline {
  double width_seconds = 1;  // a whole number, such that there are at most 600
  std::vector<Window> windows;
};

Timeline timeline_of(const LoadRun& run);

}  // namespace switchyard
