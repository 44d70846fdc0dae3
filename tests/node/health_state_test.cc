#include <gtest/gtest.h>

#include "node/health.h"
#include "node/node.h"

namespace switchyard {
namespace {

constexpr Duration kLimit = std::chrono::seconds(10);

TEST(Progress, IsNotExpectedOfAnIdleEngine) {
  ManualClock clock;
  clock.advance(std::chrono::hours(1));
  EXPECT_FALSE(makes_no_progress(EngineLoad{}, std::nullopt, clock.now(), kLimit));
}

TEST(Progress, IsMissedWhenWorkWaitsAndNoStepEnds) {
  ManualClock clock;
  EngineLoad load;
  load.last_step = clock.now();
  clock.advance(std::chrono::hours(1));
  const TimePoint busy_since = clock.now();  // the long pause before was idleness
  EXPECT_FALSE(makes_no_progress(load, busy_since, clock.now(), kLimit));
  clock.advance(kLimit + Duration(1));
  EXPECT_TRUE(makes_no_progress(load, busy_since, clock.now(), kLimit));
  load.last_step = clock.now();
  EXPECT_FALSE(makes_no_progress(load, busy_since, clock.now(), kLimit));
}

TEST(Health, SaysServingExactlyWhileTheNodeIsReady) {
  for (const char* service : {"", "readiness", "switchyard.v1.GenerationService"}) {
    EXPECT_FALSE(is_healthy(service, NodeState::kStarting));
    EXPECT_TRUE(is_healthy(service, NodeState::kReady));
    EXPECT_FALSE(is_healthy(service, NodeState::kDraining));
    EXPECT_FALSE(is_healthy(service, NodeState::kFailed));
  }
}

TEST(Health, KeepsANodeAliveThatLoadsOrDrains) {
  EXPECT_TRUE(is_healthy("liveness", NodeState::kStarting));
  EXPECT_TRUE(is_healthy("liveness", NodeState::kDraining));
  EXPECT_FALSE(is_healthy("liveness", NodeState::kFailed));
  EXPECT_FALSE(is_healthy("startup", NodeState::kStarting));
  EXPECT_TRUE(is_healthy("startup", NodeState::kDraining));
}

}  // namespace
}  // namespace switchyard
