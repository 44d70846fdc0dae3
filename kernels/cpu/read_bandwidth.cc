// Reads a large buffer with all threads of a pool and takes the best pass. Adds up what it reads,
// with several accumulators, so that neither the compiler nor an adder's latency is in the way.
#include "kernels/cpu/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/read_bandwidth.cc"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

float add_up(const float* values, int64_t count) {
  const FloatTag d;
  Floats sums[8];
  for (Floats& each : sums) each = hn::Zero(d);
  for (int64_t i = 0; i + 8 * kLanes <= count; i += 8 * kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] = hn::Add(sums[j], hn::LoadU(d, values + i + j * kLanes));
  }
  Floats total = hn::Zero(d);
  for (const Floats& each : sums) total = hn::Add(total, each);
  return sum(total);
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(add_up);

namespace {

constexpr int64_t kLargestBytes = int64_t{1} << 30;
constexpr int64_t kSmallestBytes = int64_t{1} << 27;
constexpr int64_t kGrain = 1 << 16;
constexpr int kPasses = 6;

}  // namespace

double measure_read_bandwidth(ThreadPool& pool) {
  for (int64_t bytes = kLargestBytes; bytes >= kSmallestBytes; bytes /= 2) {
    const auto count = bytes / static_cast<int64_t>(sizeof(float));
    const std::unique_ptr<float, void (*)(void*)> buffer(
        static_cast<float*>(std::malloc(static_cast<size_t>(bytes))), std::free);
    if (buffer == nullptr) continue;
    pool.parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
      std::fill(buffer.get() + begin, buffer.get() + end, 1.0f);
    });
    std::atomic<float> sink = 0;
    double best_seconds = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      pool.parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
        sink.store(HWY_DYNAMIC_DISPATCH(add_up)(buffer.get() + begin, end - begin));
      });
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (pass == 0 || took.count() < best_seconds) best_seconds = took.count();
    }
    return static_cast<double>(bytes) / best_seconds;
  }
  return 0;
}

}  // namespace switchyard::cpu
#endif
