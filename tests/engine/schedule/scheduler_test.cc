#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "tests/support/scheduler_world.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int32_t kWord = SchedulerWorld::kWord;

using World = SchedulerWorld;

Status cancelled() { return Status(Code::kCancelled, "the caller left"); }

TEST(Scheduler, TakesAQuestionFromPromptToEnd) {
  World world;
  const RequestId id = world.ask(10);
  EXPECT_EQ(world.phase(id), SequencePhase::kQueued);
  const StepPlan first = world.begin();
  ASSERT_EQ(first.rows.size(), 1u);
  EXPECT_EQ(first.rows[0].count, 10);
  EXPECT_TRUE(first.rows[0].wants_logits);
  EXPECT_EQ(world.phase(id), SequencePhase::kPrefill);
  world.end(first);
  EXPECT_EQ(world.phase(id), SequencePhase::kDecode);
  const StepSeen second = world.step(2);
  EXPECT_EQ(second.rows[0].first_token, 10);
  EXPECT_EQ(second.rows[0].count, 1);
  ASSERT_TRUE(world.ended(id));
  EXPECT_EQ(world.end_of(id).reason, FinishReason::kEos);
  EXPECT_EQ(world.phase_at_end[id], SequencePhase::kDecode);
  EXPECT_FALSE(world.cancel_to_free[id].has_value());
  EXPECT_TRUE(world.scheduler.idle());
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Scheduler, CutsALongPromptIntoChunksAndDrawsOnlyFromTheLast) {
  World world;
  world.ask(70);
  std::vector<int> counts;
  std::vector<bool> wants;
  for (int i = 0; i < 3; ++i) {
    const StepSeen step = world.step();
    counts.push_back(step.rows.at(0).count);
    wants.push_back(step.rows.at(0).wants_logits);
  }
  EXPECT_EQ(counts, (std::vector<int>{32, 32, 6}));
  EXPECT_EQ(wants, (std::vector<bool>{false, false, true}));
}

TEST(Scheduler, ServesFirstComeFirstWithinAPriority) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 2}});
  const RequestId a = world.ask(4);
  const RequestId b = world.ask(4);
  world.ask(4);
  EXPECT_EQ(world.step().ids, (std::vector<RequestId>{a, b}));
}

TEST(Scheduler, ServesTheHigherPriorityFirst) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  world.ask(4);
  const RequestId urgent = world.ask(4, [](RequestFields& fields) { fields.priority = 1; });
  EXPECT_EQ(world.step().ids, std::vector<RequestId>{urgent});
}

TEST(Scheduler, LetsNobodyStarveBehindLaterQuestionsOfHigherPriority) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  const RequestId patient = world.ask(4);
  world.clock.advance(3 * kPriorityHeadStart - milliseconds(1));
  const RequestId within = world.ask(4, [](RequestFields& fields) { fields.priority = 3; });
  world.clock.advance(milliseconds(2));
  world.ask(4, [](RequestFields& fields) { fields.priority = 3; });
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{within});
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{patient});
}

TEST(Scheduler, AdmitsNobodyPastAQuestionThatMustWaitForMemory) {
  World world({.blocks = 10});
  const RequestId running = world.ask(16);
  world.step();
  const RequestId large = world.ask(28);
  const RequestId small = world.ask(4);
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{running});
  EXPECT_EQ(world.step().ids, (std::vector<RequestId>{large, small}));
}

TEST(Scheduler, WaitsForAStateSlot) {
  World world({.state_slots = 1});
  const RequestId first = world.ask(4);
  const RequestId second = world.ask(4);
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{first});
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{second});
}

TEST(Scheduler, AdmitsOnlyWhileTheStepHasTokensToGive) {
  World world;
  world.ask(40);
  const RequestId second = world.ask(4);
  EXPECT_EQ(world.step().rows.size(), 1u);
  EXPECT_EQ(world.phase(second), SequencePhase::kQueued);
  EXPECT_EQ(world.step().rows.size(), 2u);
}

// Two sequences in memory for one and a bit.
struct Crowded : World {
  Crowded() : World({.blocks = 6}) {
    first = ask(8);
    second = ask(7);
  }
  // Steps until somebody gives way.
  StepSeen step_until_preemption() {
    for (int i = 0; i < 20; ++i) {
      StepSeen seen = step();
      if (!seen.preempted.empty()) return seen;
    }
    ADD_FAILURE() << "nobody gave way";
    return {};
  }
  RequestId first, second;
};

TEST(Scheduler, PreemptsTheLastByRankAndGoesOnWithTheFirst) {
  Crowded world;
  const StepSeen step = world.step_until_preemption();
  EXPECT_EQ(step.preempted, std::vector<RequestId>{world.second});
  EXPECT_EQ(step.ids, std::vector<RequestId>{world.first});
  EXPECT_EQ(world.phase(world.second), SequencePhase::kQueued);
  EXPECT_EQ(step.counts.preempted, 1);
}

TEST(Scheduler, AdmitsNobodyInTheMemoryOfWhoGaveWay) {
  Crowded world;
  world.step();
  const RequestId third = world.ask(4);
  EXPECT_EQ(world.step_until_preemption().preempted, std::vector<RequestId>{world.second});
  EXPECT_EQ(world.phase(third), SequencePhase::kQueued);
}

TEST(Scheduler, PreemptsTheLowerPriorityEvenIfItCameFirst) {
  World world({.blocks = 6});
  const RequestId low = world.ask(8, [](RequestFields& fields) { fields.priority = -1; });
  world.ask(7);
  StepSeen step;
  while (step.preempted.empty()) step = world.step();
  EXPECT_EQ(step.preempted, std::vector<RequestId>{low});
}

TEST(Scheduler, BringsAPreemptedSequenceBackBeforeLaterOnesWithItsTokensKept) {
  Crowded world;
  world.step_until_preemption();
  const RequestId third = world.ask(4);
  const size_t kept = world.sinks[world.second]->tokens.size();
  world.step(2);  // the first ends
  const StepSeen back = world.step();
  EXPECT_EQ(back.ids, (std::vector<RequestId>{world.second, third}));
  EXPECT_EQ(back.rows[0].first_token, 0);
  EXPECT_EQ(back.rows[0].count, static_cast<int>(7 + kept));
  EXPECT_EQ(back.counts.recomputed_tokens, static_cast<int>(7 + kept - 1));
  EXPECT_EQ(world.sinks[world.second]->tokens.size(), kept + 1);
  world.step(2);
  EXPECT_EQ(world.end_of(world.second).usage.preemptions, 1);
}

TEST(Scheduler, EndsACancelledQuestionInAnyPhaseWithinOneStep) {
  const auto cancel = [](World& world, RequestId id) {
    world.scheduler.cancel(id, cancelled(), world.clock.now());
    world.clock.advance(milliseconds(3));
  };
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  const RequestId running = world.ask(70);
  const RequestId queued = world.ask(4);
  world.step();
  cancel(world, queued);
  world.step();
  ASSERT_TRUE(world.ended(queued));
  EXPECT_EQ(world.phase_at_end[queued], SequencePhase::kQueued);

  cancel(world, running);
  EXPECT_TRUE(world.begin().rows.empty());
  ASSERT_TRUE(world.ended(running));
  EXPECT_EQ(world.phase_at_end[running], SequencePhase::kPrefill);
  EXPECT_EQ(world.end_of(running).status.code(), Code::kCancelled);
  EXPECT_EQ(world.cancel_to_free[running], Duration(milliseconds(3)));
  EXPECT_TRUE(world.all_memory_is_free());

  const RequestId decoding = world.ask(4);
  world.step();
  cancel(world, decoding);
  world.begin();
  EXPECT_EQ(world.phase_at_end[decoding], SequencePhase::kDecode);
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Scheduler, EndsWhatIsCancelledInFlightWhenTheStepComesBackWithoutItsToken) {
  World world;
  const RequestId id = world.ask(4);
  const StepPlan plan = world.begin();
  world.scheduler.cancel(id, cancelled(), world.clock.now());
  EXPECT_FALSE(world.all_memory_is_free());  // the device may still write there
  world.end(plan);
  ASSERT_TRUE(world.ended(id));
  EXPECT_TRUE(world.sinks[id]->tokens.empty());
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Scheduler, EndsWhatIsLateInTheQueueAndInFlight) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  const auto soon = [&](RequestFields& fields) {
    fields.deadline = world.clock.now() + seconds(1);
  };
  const RequestId running = world.ask(4, soon);
  const RequestId queued = world.ask(4, soon);
  const StepPlan plan = world.begin();
  world.clock.advance(seconds(1));
  world.end(plan);
  ASSERT_TRUE(world.ended(running));
  EXPECT_EQ(world.end_of(running).status.code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(world.begin().rows.empty());
  EXPECT_EQ(world.end_of(queued).status.code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(world.scheduler.idle());
}

TEST(Scheduler, IgnoresACancelOfNobody) {
  World world;
  world.scheduler.cancel(RequestId{77}, cancelled(), world.clock.now());
  EXPECT_TRUE(world.begin().ends.empty());
}

TEST(Scheduler, EndsOnlyTheAnswerThatHadNothingToDrawFrom) {
  World world;
  const RequestId broken = world.ask(4);
  const RequestId fine = world.ask(4);
  const StepPlan plan = world.begin();
  const std::vector<int32_t> tokens = {-1, kWord};
  world.hand_out(world.scheduler.finish(
      plan, {.token = tokens, .logprob = {}, .top_token = {}, .top_logprob = {}}));
  ASSERT_TRUE(world.ended(broken));
  EXPECT_EQ(world.end_of(broken).status.code(), Code::kInternal);
  EXPECT_EQ(world.sinks[fine]->tokens, std::vector<int32_t>{kWord});
}

TEST(Scheduler, GivesEachRowItsOwnTopLogprobs) {
  World world;
  const auto asks = [](RequestFields& fields) {
    fields.sampling.logprobs = true;
    fields.sampling.top_logprobs = 1;
  };
  world.ask(4);
  const RequestId id = world.ask(4, asks);
  const StepPlan plan = world.begin();
  const std::vector<int32_t> tokens = {kWord, 51};
  const std::vector<float> logprobs = {0, -2};
  const std::vector<int32_t> top_tokens = {-1, -1, 60, 61};
  const std::vector<float> top_logprobs = {0, 0, -1, -2};
  world.hand_out(world.scheduler.finish(plan, {.token = tokens,
                                               .logprob = logprobs,
                                               .top_token = top_tokens,
                                               .top_logprob = top_logprobs,
                                               .top_count = 2}));
  const TokenLogprob& logprob = world.sinks[id]->logprobs.at(0);
  EXPECT_EQ(logprob.token, 51);
  EXPECT_EQ(logprob.logprob, -2);
  const std::vector<std::pair<int32_t, float>> expected = {{60, -1.F}};
  EXPECT_EQ(logprob.top, expected);
}

TEST(Scheduler, LetsADrawWaitWhoseEditsDoNotFitBesideThoseOfEarlierRank) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 8, .max_step_edits = 3}});
  const auto with_edits = [](int edits) {
    return [edits](RequestFields& fields) {
      for (int i = 0; i < edits; ++i) fields.sampling.logit_bias.emplace_back(10 + i, 1);
    };
  };
  const RequestId two = world.ask(4, with_edits(2));
  const RequestId three = world.ask(4, with_edits(3));
  const RequestId one = world.ask(4, with_edits(1));
  EXPECT_EQ(world.step().ids, (std::vector<RequestId>{two, one}));
  EXPECT_EQ(world.step(2).ids, (std::vector<RequestId>{two, one}));
  EXPECT_EQ(world.step(2).ids, std::vector<RequestId>{three});
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Scheduler, EndsEverythingAtOnceAlsoWhatIsInFlight) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  const RequestId running = world.ask(4);
  const RequestId queued = world.ask(4);
  world.begin();
  world.hand_out({.deltas = {}, .ends = world.scheduler.end_all(Status(Code::kAborted, "bye"))});
  EXPECT_EQ(world.end_of(running).status.code(), Code::kAborted);
  EXPECT_EQ(world.end_of(queued).status.code(), Code::kAborted);
  EXPECT_TRUE(world.scheduler.idle());
  EXPECT_TRUE(world.all_memory_is_free());
}

TEST(Scheduler, TellsItsLoad) {
  World world({.limits = {.max_batch_tokens = 32, .max_batch_rows = 1}});
  world.ask(40);
  world.clock.advance(seconds(2));
  world.ask(5);
  world.clock.advance(seconds(1));
  EXPECT_EQ(world.scheduler.load().oldest_wait, seconds(3));
  world.step();
  const ScheduleLoad load = world.scheduler.load();
  EXPECT_EQ(load.running, 1);
  EXPECT_EQ(load.waiting, 1);
  EXPECT_EQ(load.pending_prompt_tokens, 8 + 5);
  EXPECT_EQ(load.oldest_wait, seconds(1));
}

TEST(Scheduler, CountsPrefillAndDecodeApart) {
  World world;
  world.ask(4);
  world.step();
  world.ask(6);
  const StepCounts counts = counts_of(world.begin());
  EXPECT_EQ(counts.rows, 2);
  EXPECT_EQ(counts.tokens, 7);
  EXPECT_EQ(counts.logits, 2);
  EXPECT_EQ(counts.prefill_tokens, 6);
  EXPECT_EQ(counts.decode_tokens, 1);
  EXPECT_EQ(counts.recomputed_tokens, 0);
}

TEST(SchedulerDeathTest, StopsOnAQuestionThatCannotFitAlone) {
  World world({.blocks = 2});
  EXPECT_DEATH(world.ask(8), "CHECK");
}

}  // namespace
}  // namespace switchyard
