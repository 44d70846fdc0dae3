// Reads nodes' /metrics before, during and after a run, and keeps of each page what a load report
// shows. A page that cannot be had is counted and the run goes on. Judges nothing (server_view.h).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "client/load/http_get.h"
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

struct ScrapeOptions {
  std::chrono::milliseconds interval{1000};
  HttpLimits limits;
  MetricsPageLimits page_limits;
  // Of one node. When there are as many, every other one is dropped and the interval doubles.
  size_t most_samples = 4096;
};

// Begun before a run and finished after it, or around several.
// One thread for each page, so that a slow node delays no other. The owner's thread makes it and
// finishes it.
class Scraper {
 public:
  // Returns when each page has been tried once.
  Scraper(std::vector<HttpUrl> pages, const ScrapeOptions& options);
  ~Scraper();
  Scraper(const Scraper&) = delete;
  Scraper& operator=(const Scraper&) = delete;

  // Tries each page a last time. To be called once.
  std::vector<ServerSeries> finish();

 private:
  void follow(const HttpUrl& page, ServerSeries& series);
  void scrape(const HttpUrl& page, ServerSeries& series);
  void stop_and_join();

  const std::vector<HttpUrl> pages_;
  const ScrapeOptions options_;
  // Steady, so that a clock that is set does not turn samples round.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point start_since_1970_ = std::chrono::system_clock::now();
  std::vector<ServerSeries> series_;  // each of its page's thread until that is joined
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t first_scrapes_due_;  // under mutex_
  bool stopping_ = false;     // under mutex_
  std::vector<std::thread> threads_;
};

}  // namespace switchyard
