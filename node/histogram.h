// Counts of values per bucket that any thread may add to without a lock.
// prometheus-cpp's own histogram takes a mutex that a scrape takes too; this one is for the step
// thread, which waits for nobody.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

class Histogram {
 public:
  // Upper bounds, rising; one more bucket takes what is above the last.
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

  void observe(double value) { observe(value, 1); }
  // The same value `times` times.
  void observe(double value, uint64_t times) {
    size_t bucket = 0;
    while (bucket < bounds_.size() && value > bounds_[bucket]) ++bucket;
    counts_[bucket].fetch_add(times, std::memory_order_relaxed);
    sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
  }

  [[nodiscard]] const std::vector<double>& bounds() const { return bounds_; }
  // Of bucket `i`, i <= bounds().size(). Buckets read one after another while values arrive need
  // not belong to one moment; each only grows.
  [[nodiscard]] uint64_t count(size_t i) const {
    return counts_[i].load(std::memory_order_relaxed);
  }
  [[nodiscard]] double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace switchyard
