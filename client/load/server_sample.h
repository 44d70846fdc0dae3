// What a page of a node's own metrics says, as far as a load report shows it. Judges nothing
// (server_view.h).
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/load/prometheus_text.h"

namespace switchyard {

// A histogram as pages have it: how many values were at most each bound. Empty: not on the page.
struct BucketCounts {
  std::vector<double> bounds;      // rising, the last infinite
  std::vector<double> cumulative;  // one for each bound
  double sum = 0;
};

// What one page said. -1: it said nothing of it.
struct ServerSample {
  int64_t unix_ns = 0;  // when the page was here, since 1970
  double running = -1;
  double waiting = -1;
  double cache_usage = -1;  // of the fullest pool, 0 to 1
  double generation_tokens = -1;
  double computed_prompt_tokens = -1;
  double cached_prompt_tokens = -1;
  double preemptions = -1;
  double rejected = -1;
  BucketCounts time_to_first_token;  // seconds, as all of them
  BucketCounts inter_token_latency;
  BucketCounts queue;
  BucketCounts end_to_end;
};

// Several models of one node are added up.
ServerSample sample_of(std::span<const MetricSeries> page);

struct ServerSeries {
  std::string target;                 // HOST:PORT of the page
  std::string version;                // of the node; empty: the page does not say
  std::vector<ServerSample> samples;  // in order of time
  int64_t scrapes = 0;                // tried
  int64_t failures = 0;
  std::string first_failure;
};

// Puts what a page says at the end; a node that says nothing yet is no failure.
absl::Status add_page(std::span<const MetricSeries> page, int64_t unix_ns, ServerSeries& series);

}  // namespace switchyard
