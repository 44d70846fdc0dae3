#include "engine/memory/state_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace switchyard {
namespace {

TEST(StatePool, HandsOutEverySlotOnceAndNeverTheSink) {
  StatePool pool(4);
  std::set<StateSlot> taken;
  while (const auto slot = pool.take()) EXPECT_TRUE(taken.insert(*slot).second);
  EXPECT_EQ(taken.size(), 3u);
  EXPECT_FALSE(taken.contains(kSinkSlot));
}

TEST(StatePool, GivesAReleasedSlotToTheNextWhoAsks) {
  StatePool pool(2);
  const StateSlot slot = pool.take().value();
  EXPECT_FALSE(pool.take().has_value());
  pool.release(slot);
  EXPECT_EQ(pool.free(), pool.total());
  EXPECT_EQ(pool.take(), slot);
}

TEST(StatePoolDeathTest, StopsOnASlotReleasedTwice) {
  StatePool pool(2);
  const StateSlot slot = pool.take().value();
  pool.release(slot);
  EXPECT_DEATH(pool.release(slot), "CHECK");
  EXPECT_DEATH(pool.release(kSinkSlot), "CHECK");
}

}  // namespace
}  // namespace switchyard
