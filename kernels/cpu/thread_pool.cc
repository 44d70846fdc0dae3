// ThreadPool: claims are a compare-and-swap on (loop number, ranges left), so that a helper that
// comes late can never take a range of a loop it did not read.
#include "kernels/cpu/thread_pool.h"

#include <hwy/cache_control.h>
#include <algorithm>

#include "kernels/base/check.h"

namespace switchyard::cpu {
namespace {

constexpr int kRangesPerThread = 4;      // evens out threads that lose their core for a while
constexpr int kSpinsBeforeSleep = 2000;  // about 20 us: longer than the gap between two ops
constexpr int kSpinsBeforeYield = 2000;
constexpr uint64_t kLoopUnit = uint64_t{1} << 32;

}  // namespace

ThreadPool::ThreadPool(int threads) {
  CHECK(threads >= 1);
  helpers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) helpers_.emplace_back([this] { help(); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_release);
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

int64_t ThreadPool::range_size(int64_t count, int64_t grain) const {
  if (helpers_.empty()) return count;
  const int64_t grains = (count + grain - 1) / grain;
  const int64_t ranges = std::min<int64_t>(grains, int64_t{threads()} * kRangesPerThread);
  if (ranges <= 1) return count;
  return (grains + ranges - 1) / ranges * grain;
}

void ThreadPool::run_loop(int64_t count, int64_t range, Call call, const void* context) {
  const int64_t ranges = (count + range - 1) / range;
  call_.store(call, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  count_.store(count, std::memory_order_relaxed);
  range_.store(range, std::memory_order_relaxed);
  unfinished_.store(ranges, std::memory_order_relaxed);
  const uint64_t loop = (unclaimed_.load(std::memory_order_relaxed) / kLoopUnit + 1) * kLoopUnit;
  unclaimed_.store(loop | static_cast<uint64_t>(ranges), std::memory_order_release);
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_all();

  while (run_one_range()) {
  }
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinsBeforeYield) {
      hwy::Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// False when no range is left to take.
bool ThreadPool::run_one_range() {
  uint64_t unclaimed = unclaimed_.load(std::memory_order_acquire);
  for (;;) {
    const int64_t left = static_cast<int64_t>(unclaimed % kLoopUnit);
    if (left == 0) return false;
    const Call call = call_.load(std::memory_order_relaxed);
    const void* context = context_.load(std::memory_order_relaxed);
    const int64_t count = count_.load(std::memory_order_relaxed);
    const int64_t range = range_.load(std::memory_order_relaxed);
    if (!unclaimed_.compare_exchange_weak(unclaimed, unclaimed - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire)) {
      continue;
    }
    const int64_t begin = ((count + range - 1) / range - left) * range;
    call(context, begin, std::min(count, begin + range));
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    return true;
  }
}

void ThreadPool::help() {
  for (;;) {
    const uint32_t wakes = wakes_.load(std::memory_order_acquire);
    while (run_one_range()) {
    }
    if (stopping_.load(std::memory_order_acquire)) return;
    int spins = 0;
    while (spins < kSpinsBeforeSleep && wakes_.load(std::memory_order_acquire) == wakes) {
      hwy::Pause();
      ++spins;
    }
    wakes_.wait(wakes, std::memory_order_acquire);
  }
}

}  // namespace switchyard::cpu
