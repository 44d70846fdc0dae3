// Thousands of questions under seeds. What must always hold is CHECKed inside the world.
#include <gtest/gtest.h>

#include "tests/support/sim_world.h"

namespace switchyard {
namespace {

constexpr int kWorlds = 400;
constexpr int kQuestions = 60;

SimReport run_worlds(SimSteps steps) {
  SimReport total;
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    SCOPED_TRACE(seed);
    const SimReport report = SimWorld(seed, steps).run(kQuestions);
    EXPECT_EQ(report.asked, report.answered + report.cancelled + report.late + report.failed_draws +
                                report.never_fitting);
    EXPECT_EQ(report.cancelled, report.freed_at_end + report.freed_later);
    total.answered += report.answered;
    total.cancelled += report.cancelled;
    total.cancelled_in_flight += report.cancelled_in_flight;
    total.late += report.late;
    total.failed_draws += report.failed_draws;
    total.never_fitting += report.never_fitting;
    total.preempted += report.preempted;
    total.recomputed_tokens += report.recomputed_tokens;
    total.steps += report.steps;
    total.freed_later += report.freed_later;
    total.drawn_ahead += report.drawn_ahead;
    total.wasted_rows += report.wasted_rows;
    total.empty_plans += report.empty_plans;
    total.edit_waits += report.edit_waits;
  }
  // The worlds were as hard as meant.
  EXPECT_GT(total.answered, kWorlds * kQuestions / 5);
  EXPECT_GT(total.cancelled, 100);
  EXPECT_GT(total.cancelled_in_flight, 20);
  EXPECT_GT(total.late, 100);
  EXPECT_GT(total.failed_draws, 10);
  EXPECT_GT(total.preempted, 500);
  EXPECT_GT(total.recomputed_tokens, 5000);
  EXPECT_GT(total.edit_waits, 100);
  ::testing::Test::RecordProperty("answered", total.answered);
  ::testing::Test::RecordProperty("preempted", total.preempted);
  ::testing::Test::RecordProperty("steps", total.steps);
  return total;
}

TEST(Simulation, AnswersEveryQuestionAsIfItHadBeenAskedAloneAndLeaksNothing) {
  const SimReport total = run_worlds(SimSteps::kOneByOne);
  EXPECT_EQ(total.drawn_ahead + total.wasted_rows + total.empty_plans + total.freed_later, 0);
}

TEST(Simulation, AnswersTheSameWhenEachStepIsLaunchedBeforeTheLastIsCollected) {
  const SimReport total = run_worlds(SimSteps::kOverlapped);
  EXPECT_GT(total.drawn_ahead, total.steps);
  EXPECT_GT(total.wasted_rows, 1000);
  EXPECT_GT(total.empty_plans, 1000);
  EXPECT_GT(total.freed_later, 100);
}

}  // namespace
}  // namespace switchyard
