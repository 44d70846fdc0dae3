// Steps planned while the one before is in flight.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/support/scheduler_world.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;
using World = SchedulerWorld;

constexpr int32_t kWord = SchedulerWorld::kWord;
constexpr int32_t kEos = 2;

Status cancelled() { return Status(Code::kCancelled, "the caller left"); }

TEST(Overlap, PlansATokenThatIsStillBeingDrawnByItsLogitRow) {
  World world;
  const RequestId chunked = world.ask(40);
  const RequestId quick = world.ask(4);
  EXPECT_EQ(world.overlapped_step().ids, std::vector<RequestId>{chunked});
  const StepSeen second = world.overlapped_step();
  ASSERT_EQ(second.ids, (std::vector<RequestId>{chunked, quick}));
  EXPECT_EQ(second.rows[0].first_token, 32);  // behind the chunk in flight
  EXPECT_EQ(second.rows[0].drawn_in_row, -1);
  const StepSeen third = world.overlapped_step();
  ASSERT_EQ(third.ids, (std::vector<RequestId>{chunked, quick}));
  EXPECT_EQ(third.rows[0].first_token, 40);
  EXPECT_EQ(third.rows[0].drawn_in_row, 0);
  EXPECT_EQ(third.rows[1].first_token, 4);
  EXPECT_EQ(third.rows[1].drawn_in_row, 1);
  EXPECT_TRUE(third.rows[1].wants_logits);
  EXPECT_EQ(third.counts.decode_tokens, 2);
}

TEST(Overlap, CountsLogitRowsAndNotRows) {
  World world;
  world.ask(4);
  (void)world.overlapped_step();
  world.ask(70, [](RequestFields& fields) { fields.priority = 1; });
  (void)world.overlapped_step();
  const StepSeen mixed = world.overlapped_step();
  ASSERT_EQ(mixed.rows.size(), 2u);
  EXPECT_FALSE(mixed.rows[0].wants_logits);  // a chunk, by rank before the row that draws
  EXPECT_TRUE(mixed.rows[1].wants_logits);
  const StepSeen next = world.overlapped_step();
  ASSERT_EQ(next.rows.size(), 2u);
  EXPECT_EQ(next.rows[0].drawn_in_row, -1);
  EXPECT_EQ(next.rows[1].drawn_in_row, 0);
}

TEST(Overlap, DeliversAnEndAtOnceAndItsMemoryWithItsLastRow) {
  World world;
  const RequestId id = world.ask(4);
  (void)world.overlapped_step();       // draws the first token
  (void)world.overlapped_step(kWord);  // draws the second; the first is learned
  (void)world.overlapped_step(kEos);   // goes on; the second ends the answer
  ASSERT_TRUE(world.ended(id));
  EXPECT_EQ(world.sinks[id]->tokens, (std::vector<int32_t>{kWord, kEos}));
  EXPECT_TRUE(world.scheduler.sequences().empty());
  EXPECT_EQ(world.scheduler.leaving().size(), 1u);
  EXPECT_FALSE(world.scheduler.idle());
  EXPECT_FALSE(world.all_memory_is_free());
  EXPECT_TRUE(world.overlapped_step().rows.empty());
  EXPECT_TRUE(world.all_memory_is_free());
  EXPECT_TRUE(world.scheduler.idle());
  EXPECT_TRUE(world.freed.empty());  // nobody cancelled
  EXPECT_EQ(world.sinks[id]->tokens.size(), 2u);
}

TEST(Overlap, PlansNothingPastTheLastTokenThatIsAsked) {
  World world;
  const RequestId id = world.ask(4, [](RequestFields& fields) { fields.stop.max_new_tokens = 2; });
  EXPECT_EQ(world.overlapped_step().rows.size(), 1u);
  EXPECT_EQ(world.overlapped_step().rows.size(), 1u);
  EXPECT_TRUE(world.overlapped_step().rows.empty());
  EXPECT_EQ(world.end_of(id).reason, FinishReason::kMaxTokens);
  EXPECT_TRUE(world.all_memory_is_free());
}

const auto kPenalised = [](RequestFields& fields) { fields.sampling.frequency_penalty = 1; };

TEST(Overlap, LeavesOutAFewWhosePenaltiesDependOnTheTokenBeingDrawn) {
  World world;
  const RequestId penalised = world.ask(1, kPenalised);
  for (int i = 0; i < kManyIsOneIn - 1; ++i) world.ask(1);
  EXPECT_EQ(world.overlapped_step().ids.size(), 8u);
  const StepSeen second = world.overlapped_step();
  EXPECT_EQ(second.ids.size(), 7u);
  EXPECT_NE(second.ids[0], penalised);
  const StepSeen third = world.overlapped_step();
  ASSERT_EQ(third.ids.size(), 8u);
  EXPECT_EQ(third.ids[0], penalised);
  EXPECT_EQ(third.rows[0].drawn_in_row, -1);
  EXPECT_EQ(third.rows[1].drawn_in_row, 0);
}

TEST(Overlap, GoesStepByStepWhenManyWaitForTheTokenBeingDrawn) {
  World world;
  const RequestId penalised = world.ask(4, kPenalised);
  const RequestId free = world.ask(4);
  EXPECT_EQ(world.overlapped_step().ids, (std::vector<RequestId>{penalised, free}));
  EXPECT_TRUE(world.overlapped_step().rows.empty());
  const StepSeen next = world.overlapped_step();
  EXPECT_EQ(next.ids, (std::vector<RequestId>{penalised, free}));
  EXPECT_EQ(next.rows[1].drawn_in_row, -1);
}

TEST(Overlap, WaitsForNobodyWhoWillEndWithTheTokenBeingDrawn) {
  World world;
  world.ask(4, [](RequestFields& fields) {
    fields.sampling.frequency_penalty = 1;
    fields.stop.max_new_tokens = 1;
  });
  const RequestId free = world.ask(4);
  EXPECT_EQ(world.overlapped_step().ids.size(), 2u);
  EXPECT_EQ(world.overlapped_step().ids, std::vector<RequestId>{free});
}

TEST(Overlap, EndsACancelledAnswerAtTheNextPlanAndFreesItWhenItsRowIsBack) {
  World world;
  const RequestId id = world.ask(70);
  const StepPlan chunk = world.begin();
  world.scheduler.cancel(id, cancelled(), world.clock.now());
  world.clock.advance(milliseconds(3));
  EXPECT_TRUE(world.begin().rows.empty());
  ASSERT_TRUE(world.ended(id));
  EXPECT_EQ(world.phase_at_end[id], SequencePhase::kPrefill);
  EXPECT_FALSE(world.cancel_to_free[id].has_value());
  EXPECT_FALSE(world.all_memory_is_free());
  world.clock.advance(milliseconds(4));
  world.end(chunk);
  EXPECT_TRUE(world.all_memory_is_free());
  EXPECT_EQ(world.freed, std::vector<Duration>{milliseconds(7)});
}

TEST(Overlap, EndsWhatIsCancelledWhileTwoOfItsRowsAreInFlight) {
  World world;
  const RequestId id = world.ask(4);
  const StepPlan first = world.begin();
  const StepPlan second = world.begin();
  world.scheduler.cancel(id, cancelled(), world.clock.now());
  world.end(first);
  ASSERT_TRUE(world.ended(id));
  EXPECT_TRUE(world.sinks[id]->tokens.empty());
  EXPECT_FALSE(world.all_memory_is_free());
  world.end(second);
  EXPECT_TRUE(world.all_memory_is_free());
  EXPECT_EQ(world.freed.size(), 1u);
}

TEST(Overlap, EndsALateAnswerWithARowInFlight) {
  World world;
  const RequestId id = world.ask(
      4, [&](RequestFields& fields) { fields.deadline = world.clock.now() + milliseconds(5); });
  const StepPlan first = world.begin();
  const StepPlan second = world.begin();
  world.clock.advance(milliseconds(5));
  world.end(first);
  EXPECT_EQ(world.end_of(id).status.code(), Code::kDeadlineExceeded);
  world.end(second);
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Overlap, EndsAPoisonedAnswerWithTheRowThatFedOnItInFlight) {
  World world;
  const RequestId id = world.ask(4);
  const StepPlan first = world.begin();
  const StepPlan second = world.begin();
  world.end(first, -1);
  EXPECT_EQ(world.end_of(id).status.code(), Code::kInternal);
  world.end(second, kWord);
  EXPECT_TRUE(world.sinks[id]->tokens.empty());
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Overlap, PreemptsNobodyBeforeTheStepInFlightIsBack) {
  World world({.blocks = 6});
  const RequestId first = world.ask(8);
  const RequestId second = world.ask(7);
  StepSeen seen;
  int empty = 0;
  for (int i = 0; i < 20 && seen.preempted.empty(); ++i) {
    seen = world.overlapped_step();
    EXPECT_TRUE(seen.preempted.empty() || empty > 0);
    empty += seen.rows.empty() ? 1 : 0;
  }
  EXPECT_EQ(empty, 1);
  EXPECT_EQ(seen.preempted, std::vector<RequestId>{second});
  EXPECT_EQ(seen.ids, std::vector<RequestId>{first});
}

TEST(Overlap, GivesMemoryOfAnEndedAnswerToNobodyBeforeItsRowIsBack) {
  World world({.state_slots = 1, .limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  const RequestId first = world.ask(4);
  const RequestId second = world.ask(4);
  (void)world.overlapped_step();
  (void)world.overlapped_step(kEos);
  ASSERT_TRUE(world.ended(first));
  EXPECT_TRUE(world.overlapped_step().rows.empty());  // the only slot is still written
  EXPECT_EQ(world.overlapped_step().ids, std::vector<RequestId>{second});
}

TEST(OverlapDeathTest, StopsOnAThirdStepInFlight) {
  World world;
  world.ask(4);
  (void)world.begin();
  (void)world.begin();
  EXPECT_DEATH((void)world.scheduler.plan(), "CHECK");
}

}  // namespace
}  // namespace switchyard
