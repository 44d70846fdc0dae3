// Thousands of questions under seeds. What must always hold is CHECKed inside the world.
#include <gtest/gtest.h>

#include "tests/support/sim_world.h"

namespace switchyard {
namespace {

constexpr int kWorlds = 400;
constexpr int kQuestions = 60;

TEST(Simulation, AnswersEveryQuestionAsIfItHadBeenAskedAloneAndLeaksNothing) {
  SimReport total;
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    SCOPED_TRACE(seed);
    const SimReport report = SimWorld(seed).run(kQuestions);
    EXPECT_EQ(report.asked, report.answered + report.cancelled + report.late + report.failed_draws +
                                report.never_fitting);
    total.answered += report.answered;
    total.cancelled += report.cancelled;
    total.cancelled_in_flight += report.cancelled_in_flight;
    total.late += report.late;
    total.failed_draws += report.failed_draws;
    total.never_fitting += report.never_fitting;
    total.preempted += report.preempted;
    total.recomputed_tokens += report.recomputed_tokens;
    total.steps += report.steps;
  }
  // The worlds were as hard as meant.
  EXPECT_GT(total.answered, kWorlds * kQuestions / 4);
  EXPECT_GT(total.cancelled, 100);
  EXPECT_GT(total.cancelled_in_flight, 20);
  EXPECT_GT(total.late, 100);
  EXPECT_GT(total.failed_draws, 10);
  EXPECT_GT(total.preempted, 500);
  EXPECT_GT(total.recomputed_tokens, 5000);
  RecordProperty("answered", total.answered);
  RecordProperty("preempted", total.preempted);
  RecordProperty("steps", total.steps);
}

}  // namespace
}  // namespace switchyard
