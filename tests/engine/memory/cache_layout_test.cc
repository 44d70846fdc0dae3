#include "engine/memory/cache_layout.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

CacheLayout lfm2_8b() {
  return {.kv = {.layers = 6, .kv_heads = 8, .head_dim = 64, .block_tokens = 64},
          .states = std::vector<RecurrentState>(18, {.columns = 2, .channels = 2048})};
}

TEST(CacheLayout, CountsKeysAndValuesOfAllLayersInABlock) {
  const CacheLayout layout = lfm2_8b();
  EXPECT_EQ(layout.kv.bytes_per_block_and_layer(), 8 * 64 * 64 * 2);
  EXPECT_EQ(layout.kv.bytes_per_block(), 2 * 6 * 8 * 64 * 64 * 2);
}

TEST(CacheLayout, CountsTheStateOfAllRecurrentLayersInASlot) {
  EXPECT_EQ(lfm2_8b().bytes_per_slot(), 18 * 2 * 2048 * 4);
}

TEST(CacheLayout, FitsWholeBlocksIntoABudget) {
  const CacheLayout layout = lfm2_8b();
  const int64_t block = layout.kv.bytes_per_block();
  EXPECT_EQ(layout.blocks_in(10 * block), 10);
  EXPECT_EQ(layout.blocks_in(10 * block - 1), 9);
  EXPECT_EQ(layout.blocks_in(0), 0);
  EXPECT_EQ(layout.blocks_in(-1), 0);
}

TEST(CacheLayout, NeverCountsMoreBlocksThanSlotIndicesReach) {
  CacheLayout layout = lfm2_8b();
  const int most = std::numeric_limits<int32_t>::max() / layout.kv.block_tokens;
  EXPECT_EQ(layout.blocks_in(std::numeric_limits<int64_t>::max()), most);
  layout.kv.layers = 0;
  EXPECT_EQ(layout.blocks_in(0), most);
}

TEST(CacheLayout, RoundsTokensUpToBlocks) {
  const CacheLayout layout = lfm2_8b();
  EXPECT_EQ(layout.blocks_for(0), 0);
  EXPECT_EQ(layout.blocks_for(1), 1);
  EXPECT_EQ(layout.blocks_for(64), 1);
  EXPECT_EQ(layout.blocks_for(65), 2);
}

}  // namespace
}  // namespace switchyard
