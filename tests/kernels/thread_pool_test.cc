// The thread pool: everything once, nothing shared, and no wake-up lost.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <vector>

namespace switchyard::cpu {
namespace {

class ThreadPoolOf : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolOf, RunsEveryIndexOnceForAnyCountAndGrain) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t grain : {1, 3, 16, 5000}) {
      std::vector<int> runs(count, 0);
      pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin % grain, 0);
        EXPECT_LT(begin, end);
        for (int64_t i = begin; i < end; ++i) ++runs[i];
      });
      EXPECT_EQ(runs, std::vector<int>(count, 1));
    }
  }
}

TEST_P(ThreadPoolOf, SeesInALoopWhatTheLoopBeforeWrote) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(200, 0);
  for (int round = 0; round < 3000; ++round) {
    // Reads the neighbour that another thread may have written.
    std::vector<int64_t> next(values.size());
    pool.parallel_for(200, 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) next[i] = values[(i + 1) % 200] + 1;
    });
    values.swap(next);
  }
  EXPECT_EQ(values, std::vector<int64_t>(200, 3000));
}

TEST_P(ThreadPoolOf, WakesUpAfterSleeping) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int64_t> total = 0;
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) total += i;
    });
    EXPECT_EQ(total, 4950);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolOf, testing::Values(1, 2, 3, 8));

TEST(ThreadPool, UsesAllItsThreads) {
  ThreadPool pool(3);
  // Each range waits for the others to have begun, which only works on three threads.
  std::atomic<int> begun = 0;
  pool.parallel_for(3, 1, [&](int64_t, int64_t) {
    ++begun;
    while (begun < 3) std::this_thread::yield();
  });
  EXPECT_EQ(begun, 3);
}

}  // namespace
}  // namespace switchyard::cpu
