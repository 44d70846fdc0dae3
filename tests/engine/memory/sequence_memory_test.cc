#include "engine/memory/sequence_memory.h"

#include <gtest/gtest.h>

#include <utility>

namespace switchyard {
namespace {

constexpr SequenceMemorySize kSmall{.blocks = 5, .block_tokens = 4, .state_slots = 3};

TEST(MemoryLease, HoldsBlocksForItsTokensAndOneStateSlot) {
  SequenceMemory memory(kSmall);
  MemoryLease lease = memory.lease();
  EXPECT_FALSE(lease.holds_state());
  EXPECT_EQ(lease.state(), kSinkSlot);
  ASSERT_TRUE(lease.reserve(5));
  EXPECT_EQ(lease.blocks().size(), 2u);
  EXPECT_TRUE(lease.holds_state());
  EXPECT_NE(lease.state(), kSinkSlot);
  EXPECT_EQ(memory.blocks().free(), 2);
  EXPECT_EQ(memory.states().free(), 1);
}

TEST(MemoryLease, KeepsItsBlocksInPlaceAsItGrows) {
  SequenceMemory memory(kSmall);
  MemoryLease lease = memory.lease();
  ASSERT_TRUE(lease.reserve(4));
  lease.commit();
  const BlockId first = lease.blocks()[0];
  const StateSlot state = lease.state();
  ASSERT_TRUE(lease.reserve(4));
  EXPECT_EQ(lease.blocks().size(), 1u);
  ASSERT_TRUE(lease.reserve(9));
  EXPECT_EQ(lease.blocks().size(), 3u);
  EXPECT_EQ(lease.blocks()[0], first);
  EXPECT_EQ(lease.state(), state);
}

TEST(MemoryLease, ChangesNothingWhenThereIsNotEnough) {
  SequenceMemory memory(kSmall);
  MemoryLease lease = memory.lease();
  ASSERT_TRUE(lease.reserve(8));
  EXPECT_FALSE(lease.reserve(17));
  EXPECT_EQ(lease.blocks().size(), 2u);
  EXPECT_EQ(memory.blocks().free(), 2);
}

TEST(MemoryLease, IsRefusedWithoutAStateSlotAndTakesNoBlocksThen) {
  SequenceMemory memory({.blocks = 5, .block_tokens = 4, .state_slots = 1});
  MemoryLease lease = memory.lease();
  EXPECT_FALSE(lease.reserve(1));
  EXPECT_EQ(memory.blocks().free(), 4);
}

TEST(MemoryLease, RollsBackToWhatWasCommitted) {
  SequenceMemory memory(kSmall);
  MemoryLease lease = memory.lease();
  ASSERT_TRUE(lease.reserve(4));
  lease.commit();
  ASSERT_TRUE(lease.reserve(16));
  lease.rollback();
  EXPECT_EQ(lease.blocks().size(), 1u);
  EXPECT_TRUE(lease.holds_state());
}

TEST(MemoryLease, RollsBackToNothingWhenNothingWasCommitted) {
  SequenceMemory memory(kSmall);
  MemoryLease lease = memory.lease();
  ASSERT_TRUE(lease.reserve(16));
  lease.rollback();
  EXPECT_EQ(memory.blocks().free(), memory.blocks().total());
  EXPECT_EQ(memory.states().free(), memory.states().total());
}

TEST(MemoryLease, GivesEverythingBackWhenItEndsOrIsReleased) {
  SequenceMemory memory(kSmall);
  {
    MemoryLease ends = memory.lease();
    ASSERT_TRUE(ends.reserve(4));
    ends.commit();
  }
  MemoryLease released = memory.lease();
  ASSERT_TRUE(released.reserve(4));
  released.commit();
  released.release();
  EXPECT_EQ(memory.blocks().free(), memory.blocks().total());
  EXPECT_EQ(memory.states().free(), memory.states().total());
  EXPECT_TRUE(released.reserve(16));
}

TEST(MemoryLease, IsGivenBackOnceAfterAMove) {
  SequenceMemory memory(kSmall);
  {
    MemoryLease first = memory.lease();
    ASSERT_TRUE(first.reserve(8));
    first.commit();
    const MemoryLease second = std::move(first);
    EXPECT_EQ(second.blocks().size(), 2u);
  }
  EXPECT_EQ(memory.blocks().free(), memory.blocks().total());
  EXPECT_EQ(memory.states().free(), memory.states().total());
}

TEST(SequenceMemory, RoundsTokensUpToBlocksWithoutOverflow) {
  const SequenceMemory memory(kSmall);
  EXPECT_EQ(memory.blocks_for(0), 0);
  EXPECT_EQ(memory.blocks_for(4), 1);
  EXPECT_EQ(memory.blocks_for(5), 2);
  EXPECT_EQ(memory.blocks_for(2147483647), 536870912);
}

}  // namespace
}  // namespace switchyard
