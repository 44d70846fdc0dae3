#include "engine/memory/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace switchyard {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnceAndNeverTheSink) {
  BlockPool pool(5);
  EXPECT_EQ(pool.total(), 4);
  std::set<BlockId> taken;
  while (const auto id = pool.take()) EXPECT_TRUE(taken.insert(*id).second);
  EXPECT_EQ(taken.size(), 4u);
  EXPECT_FALSE(taken.contains(kSinkBlock));
  EXPECT_EQ(pool.free(), 0);
}

TEST(BlockPool, RefusesByReturningNothingWhenAllAreTaken) {
  BlockPool pool(2);
  const auto only = pool.take();
  ASSERT_TRUE(only.has_value());
  EXPECT_FALSE(pool.take().has_value());
  pool.release(*only);
  EXPECT_TRUE(pool.take().has_value());
}

TEST(BlockPool, FreesASharedBlockWithItsLastUser) {
  BlockPool pool(2);
  const BlockId id = pool.take().value();
  pool.share(id);
  EXPECT_EQ(pool.users(id), 2);
  pool.release(id);
  EXPECT_EQ(pool.free(), 0);
  pool.release(id);
  EXPECT_EQ(pool.users(id), 0);
  EXPECT_EQ(pool.free(), 1);
}

TEST(BlockPool, OfTheSinkAloneHasNothingToGive) {
  BlockPool pool(1);
  EXPECT_EQ(pool.total(), 0);
  EXPECT_FALSE(pool.take().has_value());
}

TEST(BlockPoolDeathTest, StopsOnABlockReleasedTwice) {
  BlockPool pool(3);
  const BlockId id = pool.take().value();
  pool.release(id);
  EXPECT_DEATH(pool.release(id), "CHECK");
  EXPECT_DEATH(pool.share(id), "CHECK");
  EXPECT_DEATH(pool.release(kSinkBlock), "CHECK");
  EXPECT_DEATH(pool.release(BlockId{3}), "CHECK");
}

}  // namespace
}  // namespace switchyard
