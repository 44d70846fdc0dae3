#include "node/admission.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

class AdmissionTest : public testing::Test {
 protected:
  static constexpr int kQueue = 4;
  static constexpr int64_t kTokens = 100;

  Status submit(int64_t tokens) {
    return admission_.submit(tokens, kNever, [] { return Status(); });
  }

  ManualClock clock_;
  EngineLoad load_;
  Admission admission_{
      AdmissionLimits{
          .queue = kQueue, .queue_tokens = kTokens, .queue_age = std::chrono::seconds(10)},
      clock_, [this] { return load_; }};
};

TEST_F(AdmissionTest, AcceptsWhileThereIsRoom) {
  load_.waiting = kQueue - 1;
  EXPECT_TRUE(admission_.enter(kNever).ok());
  EXPECT_TRUE(submit(10).ok());
  EXPECT_EQ(admission_.in_flight(), 1);
}

TEST_F(AdmissionTest, RefusesWhenTheQueueIsFullAndSaysWhenToRetry) {
  load_.waiting = kQueue;
  load_.oldest_wait = std::chrono::seconds(2);
  const Status status = admission_.enter(kNever);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(status.reason(), "QUEUE_FULL");
  EXPECT_EQ(status.retry_after(), std::chrono::milliseconds(2000));
}

TEST_F(AdmissionTest, RefusesWhenTheQueueDoesNotMove) {
  load_.waiting = 1;
  load_.oldest_wait = std::chrono::seconds(11);
  EXPECT_EQ(admission_.enter(kNever).reason(), "QUEUE_AGE");
}

TEST_F(AdmissionTest, RefusesTokensBeyondTheBudgetUntilAPromptIsDone) {
  EXPECT_TRUE(submit(60).ok());
  EXPECT_EQ(submit(41).reason(), "TOKEN_BUDGET");
  EXPECT_TRUE(submit(40).ok());
  admission_.on_prompt_done(60);
  EXPECT_TRUE(submit(60).ok());
}

TEST_F(AdmissionTest, AcceptsOnePromptAboveTheBudgetWhenNothingWaits) {
  EXPECT_TRUE(submit(kTokens + 1).ok());
  EXPECT_EQ(submit(1).reason(), "TOKEN_BUDGET");
}

TEST_F(AdmissionTest, RefusesADeadlineThatHasPassed) {
  clock_.advance(std::chrono::seconds(1));
  const Status status = admission_.enter(clock_.now());
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(status.retry_after());
  EXPECT_TRUE(admission_.enter(clock_.now() + std::chrono::seconds(1)).ok());
}

TEST_F(AdmissionTest, RefusesEverythingWhileDraining) {
  admission_.drain();
  const Status status = admission_.enter(kNever);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.reason(), "DRAINING");
  EXPECT_TRUE(status.retry_after());
  EXPECT_EQ(submit(1).reason(), "DRAINING");
}

TEST_F(AdmissionTest, CountsNothingThatTheEngineRefused) {
  const Status refused = admission_.submit(kTokens, kNever, [] { return Status::internal("no"); });
  EXPECT_EQ(refused.code(), Code::kInternal);
  EXPECT_EQ(admission_.in_flight(), 0);
  EXPECT_TRUE(submit(kTokens).ok());
}

TEST_F(AdmissionTest, KnowsSinceWhenItHasBeenBusy) {
  EXPECT_FALSE(admission_.busy_since());
  clock_.advance(std::chrono::seconds(5));
  const TimePoint began = clock_.now();
  ASSERT_TRUE(submit(1).ok());
  clock_.advance(std::chrono::seconds(5));
  ASSERT_TRUE(submit(1).ok());
  EXPECT_EQ(admission_.busy_since(), began);
  admission_.on_end();
  EXPECT_EQ(admission_.busy_since(), began);
  admission_.on_end();
  EXPECT_FALSE(admission_.busy_since());
}

}  // namespace
}  // namespace switchyard
