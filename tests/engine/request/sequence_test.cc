#include "engine/request/sequence.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>

#include "tests/support/request_builder.h"

namespace switchyard {
namespace {

using std::chrono::seconds;

TimePoint at(int second) { return TimePoint(seconds(second)); }

TextStream letters() {
  return {[](int32_t token) { return std::string(1, static_cast<char>('a' + token % 26)); },
          [] { return std::string("~"); }};
}

struct World {
  SequenceMemory memory{{.blocks = 20, .block_tokens = 4, .state_slots = 4}};

  Sequence sequence(
      const std::function<void(RequestFields&)>& change = [](RequestFields&) {},
      TextStream text = letters()) {
    return Sequence(request_with(change), std::move(text), memory.lease());
  }
};

// Computes all that is pending, as one step.
void compute(Sequence& sequence) {
  ASSERT_TRUE(sequence.lease().reserve(static_cast<int>(sequence.tokens().size())));
  sequence.lease().commit();
  sequence.launch({.count = sequence.pending_tokens(), .logit_row = 0});
  sequence.collect();
}

LearnedToken step(Sequence& sequence, int32_t token, TimePoint now = at(0)) {
  compute(sequence);
  return sequence.learn({.token = token}, now);
}

TEST(Sequence, KnowsWhatIsComputedInFlightAndPending) {
  World world;
  Sequence sequence = world.sequence();
  EXPECT_EQ(sequence.phase(), SequencePhase::kQueued);
  sequence.admit(at(0));
  EXPECT_EQ(sequence.phase(), SequencePhase::kPrefill);
  sequence.launch({.count = 2});
  EXPECT_EQ(sequence.in_flight_tokens(), 2);
  EXPECT_EQ(sequence.pending_tokens(), 1);
  sequence.collect();
  EXPECT_EQ(sequence.computed_tokens(), 2);
  (void)step(sequence, 50);
  EXPECT_EQ(sequence.phase(), SequencePhase::kDecode);
  EXPECT_EQ(sequence.pending_tokens(), 1);
  EXPECT_EQ(sequence.output_tokens(), 1);
}

TEST(Sequence, GivesEachTokenWithItsText) {
  World world;
  Sequence sequence = world.sequence();
  sequence.admit(at(0));
  const LearnedToken learned = step(sequence, 28);
  EXPECT_EQ(learned.delta.tokens, std::vector<int32_t>{28});
  EXPECT_EQ(learned.delta.text, "c");
  EXPECT_TRUE(learned.delta.logprobs.empty());
  EXPECT_FALSE(learned.end.has_value());
}

TEST(Sequence, GivesNoTextWithoutATextStream) {
  World world;
  Sequence sequence = world.sequence([](RequestFields&) {}, TextStream{});
  sequence.admit(at(0));
  EXPECT_EQ(step(sequence, 28).delta.text, "");
  EXPECT_EQ(step(sequence, 2).end->reason, FinishReason::kEos);
}

TEST(Sequence, HidesTheTextOfItsEndTokenAndFlushesWhatWasHeldBack) {
  World world;
  Sequence sequence =
      world.sequence([](RequestFields& fields) { fields.stop.stop_strings = {"cz"}; });
  sequence.admit(at(0));
  EXPECT_EQ(step(sequence, 28).delta.text, "");
  const LearnedToken last = step(sequence, 2);
  EXPECT_EQ(last.delta.text, "c~");
  EXPECT_EQ(last.delta.tokens, std::vector<int32_t>{2});
  ASSERT_TRUE(last.end.has_value());
  EXPECT_EQ(last.end->reason, FinishReason::kEos);
  EXPECT_TRUE(last.end->status.ok());
  EXPECT_EQ(last.end->usage.prompt_tokens, 3);
  EXPECT_EQ(last.end->usage.completion_tokens, 2);
}

TEST(Sequence, DropsWhatFollowsAStopString) {
  World world;
  Sequence sequence =
      world.sequence([](RequestFields& fields) { fields.stop.stop_strings = {"cd"}; });
  sequence.admit(at(0));
  EXPECT_EQ(step(sequence, 28).delta.text, "");
  const LearnedToken last = step(sequence, 29);
  EXPECT_EQ(last.delta.text, "");
  ASSERT_TRUE(last.end.has_value());
  EXPECT_EQ(last.end->reason, FinishReason::kStopString);
  EXPECT_EQ(last.end->matched_stop, "cd");
}

TEST(Sequence, KeepsItsOutputAndGivesItsMemoryBackWhenPreempted) {
  World world;
  Sequence sequence = world.sequence();
  sequence.admit(at(0));
  (void)step(sequence, 50);
  (void)step(sequence, 51);
  sequence.preempt();
  EXPECT_EQ(sequence.phase(), SequencePhase::kQueued);
  EXPECT_EQ(world.memory.blocks().free(), world.memory.blocks().total());
  EXPECT_EQ(world.memory.states().free(), world.memory.states().total());
  EXPECT_EQ(sequence.pending_tokens(), 5);
  EXPECT_EQ(sequence.furthest_computed_tokens(), 4);
  sequence.admit(at(9));
  const LearnedToken last = step(sequence, 2);
  EXPECT_EQ(last.end->usage.preemptions, 1);
  EXPECT_EQ(last.end->usage.completion_tokens, 3);
}

TEST(Sequence, DrawsEachTokenWithItsSeedAndItsPlace) {
  World world;
  Sequence sequence = world.sequence([](RequestFields& fields) {
    fields.sampling.seed = 0x1122334455667788;
    fields.sampling.top_k = 7;
  });
  EXPECT_EQ(sequence.sample_row(3).position, 3);
  EXPECT_EQ(sequence.sample_row(3).seed_low, 0x55667788u);
  EXPECT_EQ(sequence.sample_row(3).seed_high, 0x11223344u);
  EXPECT_EQ(sequence.sample_row(4).top_k, 7);
}

// The steps of a sequence overlap: each is launched before the one before is collected.
TEST(Sequence, GoesOnFromATokenThatIsStillBeingDrawn) {
  World world;
  Sequence sequence = world.sequence();  // of 3 tokens
  sequence.admit(at(0));
  sequence.launch({.count = 2});
  EXPECT_EQ(sequence.drawn_in_row(), -1);
  sequence.launch({.count = 1, .logit_row = 7});
  EXPECT_EQ(sequence.in_flight_tokens(), 3);
  EXPECT_EQ(sequence.expected_tokens(), 4);
  sequence.collect();
  EXPECT_EQ(sequence.drawn_in_row(), 7);
  EXPECT_FALSE(sequence.waits_for_draw());
  EXPECT_EQ(sequence.pending_tokens(), 1);
  sequence.launch({.count = 1, .logit_row = 5});
  EXPECT_EQ(sequence.expected_tokens(), 5);
  sequence.collect();
  EXPECT_EQ(sequence.learn({.token = 50}, at(0)).delta.tokens, std::vector<int32_t>{50});
  EXPECT_EQ(sequence.tokens().size(), 4u);
  EXPECT_EQ(sequence.expected_tokens(), 5);
  EXPECT_EQ(sequence.computed_tokens(), 3);
  EXPECT_EQ(sequence.in_flight_tokens(), 1);
  EXPECT_EQ(sequence.drawn_in_row(), 5);
}

TEST(Sequence, WaitsForADrawThatIsCertainToBeItsLast) {
  World world;
  Sequence two = world.sequence([](RequestFields& fields) { fields.stop.max_new_tokens = 2; });
  two.admit(at(0));
  two.launch({.count = 3, .logit_row = 0});
  EXPECT_FALSE(two.waits_for_draw());
  two.launch({.count = 1, .logit_row = 0});
  two.collect();
  (void)two.learn({.token = 50}, at(0));
  EXPECT_TRUE(two.waits_for_draw());
  EXPECT_DEATH(two.launch({.count = 1, .logit_row = 0}), "CHECK");
}

TEST(Sequence, WaitsForADrawOnWhichItsPenaltiesDepend) {
  World world;
  Sequence sequence =
      world.sequence([](RequestFields& fields) { fields.sampling.presence_penalty = 1; });
  sequence.admit(at(0));
  sequence.launch({.count = 3, .logit_row = 0});
  EXPECT_TRUE(sequence.waits_for_draw());
  sequence.collect();
  (void)sequence.learn({.token = 50}, at(0));
  EXPECT_FALSE(sequence.waits_for_draw());
  EXPECT_EQ(sequence.edits().size(), 1u);
}

TEST(Sequence, ForbidsItsEndForTheDrawsThatComeTooEarlyHoweverFewItHasLearned) {
  World world;
  Sequence sequence = world.sequence([](RequestFields& fields) { fields.stop.min_new_tokens = 1; });
  sequence.admit(at(0));
  sequence.launch({.count = 3, .logit_row = 0});
  EXPECT_LT(sequence.edits()[0].bias, 0);
  sequence.launch({.count = 1, .logit_row = 0});
  EXPECT_EQ(sequence.edits()[0].bias, 0);
}

TEST(Sequence, ReportsLogprobsAsManyAsWereAskedFor) {
  World world;
  Sequence sequence = world.sequence([](RequestFields& fields) {
    fields.sampling.logprobs = true;
    fields.sampling.top_logprobs = 3;
  });
  sequence.admit(at(0));
  compute(sequence);
  const std::array<int32_t, 4> tokens{8, 9, -1, -1};
  const std::array<float, 4> logprobs{-0.5F, -1.5F, 0, 0};
  const LearnedToken learned = sequence.learn(
      {.token = 9, .logprob = -1.5F, .top_token = tokens, .top_logprob = logprobs}, at(0));
  ASSERT_EQ(learned.delta.logprobs.size(), 1u);
  EXPECT_EQ(learned.delta.logprobs[0].token, 9);
  EXPECT_EQ(learned.delta.logprobs[0].logprob, -1.5F);
  const std::vector<std::pair<int32_t, float>> expected = {{8, -0.5F}, {9, -1.5F}};
  EXPECT_EQ(learned.delta.logprobs[0].top, expected);
}

TEST(Sequence, MeasuresItsTimesFromArrivalToEnd) {
  World world;
  Sequence sequence = world.sequence([](RequestFields& fields) { fields.arrival = at(10); });
  sequence.admit(at(12));
  (void)step(sequence, 50, at(15));
  (void)step(sequence, 51, at(16));
  const Timings timings = step(sequence, 2, at(19)).end->timings;
  EXPECT_EQ(timings.queue, seconds(2));
  EXPECT_EQ(timings.prefill, seconds(3));
  EXPECT_EQ(timings.first_token, seconds(5));
  EXPECT_EQ(timings.decode, seconds(4));
  EXPECT_EQ(timings.total, seconds(9));
}

TEST(Sequence, ThatNeverRanSpentItsTimeInTheQueue) {
  World world;
  const Sequence sequence = world.sequence([](RequestFields& fields) { fields.arrival = at(10); });
  const EndOfAnswer end = sequence.failed(Status(Code::kAborted, "bye"), at(14));
  EXPECT_EQ(end.reason, FinishReason::kError);
  EXPECT_EQ(end.status.code(), Code::kAborted);
  EXPECT_EQ(end.timings.queue, seconds(4));
  EXPECT_EQ(end.timings.prefill, seconds(0));
  EXPECT_EQ(end.timings.first_token, seconds(0));
  EXPECT_EQ(end.timings.total, seconds(4));
}

TEST(Sequence, IsDueToEndWhenItsDeadlineComesOrItIsAskedTo) {
  World world;
  Sequence sequence = world.sequence([](RequestFields& fields) { fields.deadline = at(5); });
  EXPECT_FALSE(sequence.due_end(at(4)).has_value());
  EXPECT_EQ(sequence.due_end(at(5))->code(), Code::kDeadlineExceeded);
  sequence.ask_to_end(Status(Code::kCancelled, "first"), at(2));
  sequence.ask_to_end(Status(Code::kAborted, "second"), at(3));
  EXPECT_EQ(sequence.due_end(at(3))->code(), Code::kCancelled);
  EXPECT_EQ(sequence.asked_to_end_at(), at(2));
}

}  // namespace
}  // namespace switchyard
