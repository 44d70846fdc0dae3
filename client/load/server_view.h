// What nodes' own metrics say of a run: the difference of two pages, one from before its measured
// requests and one from after them. What others asked of the nodes meanwhile is in it too.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/load/run.h"
#include "client/load/server_sample.h"
#include "client/load/statistics.h"

namespace switchyard {

// Of a histogram. A percentile's value is interpolated as Prometheus does it; the truth is
// somewhere in its bucket, from low to high, which is infinite in the last one.
struct ServerDistribution {
  int64_t count = 0;
  double mean_ms = 0;
  std::array<Estimate, kPercentiles.size()> percentiles_ms;
};

struct ServerView {
  std::string target;  // "all nodes" for their sum
  std::string version;
  int64_t scrapes = 0;
  int64_t failures = 0;
  std::string first_failure;
  // Counters fell between two pages: nothing can be subtracted, and the rest is empty.
  bool restarted = false;

  // Of the two pages. Equal: there was none, or only one, and the rest is empty.
  double from_seconds = 0;
  double to_seconds = 0;
  ServerDistribution ttft;
  ServerDistribution itl;
  ServerDistribution queue;
  ServerDistribution e2e;
  // -1: not on the pages, as for the gauges.
  double generation_tokens = -1;
  double computed_prompt_tokens = -1;
  double cached_prompt_tokens = -1;
  double preemptions = -1;
  double rejected = -1;
  double peak_running = -1;
  double peak_waiting = -1;
  double peak_cache_usage = -1;

  std::vector<ServerSample> samples;  // of the whole run; none for the sum
};

// One for each node, and after them their sum if there are several of which something is known.
std::vector<ServerView> server_views(std::vector<ServerSeries> series, const LoadRun& run);

// Values of `later` less those of `earlier`; nothing where the histograms are not the same one
// later.
std::optional<BucketCounts> difference(const BucketCounts& earlier, const BucketCounts& later);
ServerDistribution distribution_of(const BucketCounts& seconds);

}  // namespace switchyard
