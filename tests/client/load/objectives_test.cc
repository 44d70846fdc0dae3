// What a good answer keeps, as it is written on a command line.
#include "client/load/objectives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/load/failure.h"

namespace switchyard::test {
namespace {

using testing::HasSubstr;

TEST(Objectives, TakeTimesWithAndWithoutUnits) {
  Objectives objectives;
  ASSERT_TRUE(add_objective("ttft=500ms,tpot=50,itl=0.08s,e2e=10s", objectives).ok());
  EXPECT_EQ(objectives.all.ttft_ms, 500);
  EXPECT_EQ(objectives.all.tpot_ms, 50);
  EXPECT_EQ(objectives.all.itl_ms, 80);
  EXPECT_EQ(objectives.all.e2e_ms, 10'000);
}

TEST(Objectives, OfAClassFillTheirGapsFromThoseOfAll) {
  Objectives objectives;
  EXPECT_TRUE(objectives.empty());
  ASSERT_TRUE(add_objective("ttft=500,e2e=9s", objectives).ok());
  ASSERT_TRUE(add_objective("chat:ttft=100", objectives).ok());
  ASSERT_TRUE(add_objective("chat:tpot=20", objectives).ok());
  EXPECT_EQ(objectives.of("chat").ttft_ms, 100);
  EXPECT_EQ(objectives.of("chat").tpot_ms, 20);
  EXPECT_EQ(objectives.of("chat").e2e_ms, 9000);
  EXPECT_EQ(objectives.of("other").ttft_ms, 500);
  EXPECT_FALSE(objectives.of("other").tpot_ms);
}

TEST(Objectives, SayWhatIsWrongWithThem) {
  const auto complaint = [](std::string_view text) {
    Objectives objectives;
    return why(add_objective(text, objectives));
  };
  for (const char* text :
       {"", "ttft", "ttft=", "ttft=x", "ttft=-1", "ttft=0", "ttft=5m", "ttft=1e99", "ttft=nan",
        "ttfs=5", ":ttft=5", "chat:", "ttft=5,", "ttft=5,,tpot=4"}) {
    EXPECT_THAT(complaint(text), HasSubstr("objective '" + std::string(text) + "'")) << text;
  }
  EXPECT_THAT(complaint("ttft=5m"), HasSubstr("no time such as 500ms"));
  EXPECT_THAT(complaint("speed=5"), HasSubstr("'speed=5' is none of ttft="));
}

}  // namespace
}  // namespace switchyard::test
