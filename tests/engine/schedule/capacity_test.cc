#include "engine/schedule/capacity.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(Capacity, AdmitsWhatFitsWhenPreemptionPaysForGrowth) {
  EXPECT_TRUE(admit_if_it_fits({.needed_blocks = 4, .free_blocks = 4, .running = 3}));
  EXPECT_FALSE(admit_if_it_fits({.needed_blocks = 5, .free_blocks = 4, .running = 0}));
}

TEST(Capacity, LeavesEachRunningSequenceABlockToGrowInto) {
  EXPECT_TRUE(admit_with_room_to_grow({.needed_blocks = 4, .free_blocks = 7, .running = 3}));
  EXPECT_FALSE(admit_with_room_to_grow({.needed_blocks = 4, .free_blocks = 6, .running = 3}));
}

TEST(Capacity, AdmitsWhateverFitsWhenNothingRuns) {
  EXPECT_TRUE(admit_with_room_to_grow({.needed_blocks = 4, .free_blocks = 4, .running = 0}));
}

}  // namespace
}  // namespace switchyard
