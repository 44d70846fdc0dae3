#include <gtest/gtest.h>

#include "node/health.h"
#include "node/node.h"

namespace switchyard {
namespace {

using std::chrono::seconds;

TEST(Progress, IsNotExpectedOfAnIdleEngine) {
  ManualClock clock;
  clock.advance(std::chrono::hours(1));
  EXPECT_EQ(without_progress(EngineLoad{}, std::nullopt, clock.now()), Duration::zero());
}

TEST(Progress, IsMissedFromWhenWorkCameOrLifeWasSeenLast) {
  ManualClock clock;
  EngineLoad load;
  load.last_progress = clock.now();
  clock.advance(std::chrono::hours(1));
  const TimePoint busy_since = clock.now();  // the long pause before was idleness
  EXPECT_EQ(without_progress(load, busy_since, clock.now()), Duration::zero());
  clock.advance(seconds(10));
  EXPECT_EQ(without_progress(load, busy_since, clock.now()), seconds(10));
  load.last_progress = clock.now() - seconds(3);  // a layer of a step that goes on
  EXPECT_EQ(without_progress(load, busy_since, clock.now()), seconds(3));
}

TEST(Health, SaysServingExactlyWhileTheNodeIsReady) {
  for (const char* service : {"", "readiness", "switchyard.v1.GenerationService"}) {
    EXPECT_FALSE(is_healthy(service, NodeState::kStarting));
    EXPECT_TRUE(is_healthy(service, NodeState::kReady));
    EXPECT_FALSE(is_healthy(service, NodeState::kDraining));
    EXPECT_FALSE(is_healthy(service, NodeState::kStalled));
    EXPECT_FALSE(is_healthy(service, NodeState::kFailed));
  }
}

TEST(Health, KeepsANodeAliveThatLoadsDrainsOrIsSlow) {
  EXPECT_TRUE(is_healthy("liveness", NodeState::kStarting));
  EXPECT_TRUE(is_healthy("liveness", NodeState::kDraining));
  EXPECT_TRUE(is_healthy("liveness", NodeState::kStalled));
  EXPECT_FALSE(is_healthy("liveness", NodeState::kFailed));
  EXPECT_FALSE(is_healthy("startup", NodeState::kStarting));
  EXPECT_TRUE(is_healthy("startup", NodeState::kDraining));
}

}  // namespace
}  // namespace switchyard
