// Follows pages of metrics before, during and after a run. A page that cannot be had is counted and
// the run goes on. One loop for whatever pages become (server_sample.h, gpu_sample.h).
#pragma once

#include <absl/status/statusor.h>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/load/failure.h"
#include "client/load/http_get.h"
#include "client/load/prometheus_text.h"

namespace switchyard {

struct ScrapeOptions {
  std::chrono::milliseconds interval{1000};
  HttpLimits limits;
  MetricsPageLimits page_limits;
  // Of one page. When there are as many, every other one is dropped and the interval doubles.
  size_t most_samples = 4096;
};

absl::StatusOr<std::vector<MetricSeries>> fetch_page(const HttpUrl& page,
                                                     const ScrapeOptions& options);

// What the pages of one address become. add_page() puts a page at the end of the samples, or says
// why it is none.
template <typename Series>
concept PageSeries = std::default_initializable<Series> &&
    requires(Series series, std::span<const MetricSeries> page, int64_t unix_ns) {
  { add_page(page, unix_ns, series) } -> std::same_as<absl::Status>;
  series.target = std::string();  // HOST:PORT
  series.scrapes = int64_t();     // tried
  series.failures = int64_t();
  series.first_failure = std::string();
  series.samples.front().unix_ns;
};

// Begun before a run and finished after it, or around several.
// One thread for each page, so that a slow one delays no other. The owner's thread makes it and
// finishes it.
template <PageSeries Series>
class Scraper {
 public:
  // Returns when each page has been tried once.
  Scraper(std::vector<HttpUrl> pages, const ScrapeOptions& options)
      : pages_(std::move(pages)),
        options_(options),
        series_(pages_.size()),
        first_scrapes_due_(pages_.size()) {
    threads_.reserve(pages_.size());
    for (size_t i = 0; i < pages_.size(); ++i) {
      series_[i].target = pages_[i].host + ":" + pages_[i].port;
      threads_.emplace_back([this, i] { follow(pages_[i], series_[i]); });
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return first_scrapes_due_ == 0; });
  }
  ~Scraper() { stop_and_join(); }
  Scraper(const Scraper&) = delete;
  Scraper& operator=(const Scraper&) = delete;

  // Tries each page a last time. To be called once.
  std::vector<Series> finish() {
    stop_and_join();
    return std::move(series_);
  }

 private:
  void follow(const HttpUrl& page, Series& series) {
    scrape(page, series);
    auto next = std::chrono::steady_clock::now();
    auto interval = options_.interval;
    std::unique_lock lock(mutex_);
    --first_scrapes_due_;
    changed_.notify_all();
    while (!stopping_) {
      next = std::max(next + interval, std::chrono::steady_clock::now());
      if (changed_.wait_until(lock, next, [this] { return stopping_; })) break;
      lock.unlock();
      scrape(page, series);
      if (series.samples.size() >= options_.most_samples) {
        decltype(series.samples) kept;
        for (size_t i = 0; i < series.samples.size(); i += 2) {
          kept.push_back(std::move(series.samples[i]));
        }
        series.samples = std::move(kept);
        interval *= 2;
      }
      lock.lock();
    }
    lock.unlock();
    scrape(page, series);
  }

  void scrape(const HttpUrl& page, Series& series) {
    ++series.scrapes;
    const auto fetched = fetch_page(page, options_);
    const auto unix_time =
        start_since_1970_.time_since_epoch() + (std::chrono::steady_clock::now() - start_);
    const absl::Status status =
        fetched.ok() ? add_page(*fetched, std::chrono::nanoseconds(unix_time).count(), series)
                     : fetched.status();
    if (!status.ok() && series.failures++ == 0) series.first_failure = why(status);
  }

  void stop_and_join() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  const std::vector<HttpUrl> pages_;
  const ScrapeOptions options_;
  // Steady, so that a clock that is set does not turn samples round.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point start_since_1970_ = std::chrono::system_clock::now();
  std::vector<Series> series_;  // each of its page's thread until that is joined
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t first_scrapes_due_;  // under mutex_
  bool stopping_ = false;     // under mutex_
  std::vector<std::thread> threads_;
};

}  // namespace switchyard
