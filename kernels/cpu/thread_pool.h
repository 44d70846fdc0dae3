// A fixed team of threads for loops of independent ranges. The caller takes part, so a pool of one
// runs everything inline. Between two loops the helpers spin for a few microseconds before they
// sleep: a decode step is about a hundred loops in a row. Not a task queue: one loop at a time.
//
// Thread: parallel_for is called by one thread at a time, and not from inside a body.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace switchyard::cpu {

class ThreadPool {
 public:
  // `threads` counts the caller; at least 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // Calls body(begin, end) for disjoint ranges that cover [0, count). Ranges begin at multiples of
  // `grain`, the least that is worth handing to another thread. Which thread runs which range is
  // left open, so a body's result may not depend on it. Bodies do not throw.
  template <typename Body>
  void parallel_for(int64_t count, int64_t grain, const Body& body) {
    const int64_t range = range_size(count, grain);
    if (range >= count) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    run_loop(
        count, range,
        [](const void* context, int64_t begin, int64_t end) {
          (*static_cast<const Body*>(context))(begin, end);
        },
        &body);
  }

 private:
  using Call = void (*)(const void* context, int64_t begin, int64_t end);

  [[nodiscard]] int64_t range_size(int64_t count, int64_t grain) const;
  void run_loop(int64_t count, int64_t range, Call call, const void* context);
  bool run_one_range();
  void help();

  // The loop being run. A helper may read these while the next loop is being set up, so they are
  // atomics, and what it read counts only if it then takes a range off `unclaimed_`, whose upper
  // half says which loop it belongs to.
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> context_{nullptr};
  std::atomic<int64_t> count_{0};
  std::atomic<int64_t> range_{0};

  alignas(64) std::atomic<uint64_t> unclaimed_{0};  // loop number << 32 | ranges nobody has taken
  alignas(64) std::atomic<int64_t> unfinished_{0};  // ranges of this loop not done yet
  alignas(64) std::atomic<uint32_t> wakes_{0};      // changes when there is a reason to wake up
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace switchyard::cpu
