#include "engine/base/queue.h"

#include <gtest/gtest.h>

#include <thread>

namespace switchyard {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Queue, RefusesWhatDoesNotFit) {
  Queue<int> queue(2);
  EXPECT_TRUE(queue.push(1));
  EXPECT_TRUE(queue.push(2));
  EXPECT_FALSE(queue.push(3));
  EXPECT_EQ(queue.take_all(), (std::vector<int>{1, 2}));
  EXPECT_TRUE(queue.push(4));
}

TEST(Queue, EndsAWaitWithAValueFromAnotherThread) {
  Queue<int> queue(1);
  std::thread producer([&] { queue.push(5); });
  queue.wait_for(hours(1));
  EXPECT_EQ(queue.take_all(), std::vector<int>{5});
  producer.join();
}

TEST(Queue, RemembersAWakeUpThatCameBeforeTheWait) {
  Queue<int> queue(1);
  queue.wake();
  queue.wait_for(hours(1));
  EXPECT_TRUE(queue.take_all().empty());
  queue.wait_for(milliseconds(1));  // the wake-up was used up; this one times out
}

TEST(Queue, LosesNothingBetweenManyProducersAndOneConsumer) {
  constexpr int kProducers = 4, kEach = 1000;
  Queue<int> queue(kProducers * kEach);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (int i = 0; i < kEach; ++i) queue.push(p * kEach + i);
    });
  }
  std::vector<bool> seen(kProducers * kEach);
  size_t count = 0;
  while (count < seen.size()) {
    queue.wait_for(milliseconds(100));
    for (const int value : queue.take_all()) {
      EXPECT_FALSE(seen[static_cast<size_t>(value)]);
      seen[static_cast<size_t>(value)] = true;
      ++count;
    }
  }
  for (std::thread& producer : producers) producer.join();
}

}  // namespace
}  // namespace switchyard
