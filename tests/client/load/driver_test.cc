// The driver against a server whose times are known: who is counted from when, and what is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/client/load/load_world.h"

namespace switchyard::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Each;
using testing::Field;
using testing::HasSubstr;

// Of requests between their send and their end.
int most_at_once(const std::vector<RequestRecord>& records) {
  std::map<std::pair<int64_t, int>, int> changes;  // at one time ends come before sends
  for (const RequestRecord& record : records) {
    ++changes[{record.sent_ns, 1}];
    ++changes[{record.end_ns, 0}];
  }
  int now = 0;
  int most = 0;
  for (const auto& [change, count] : changes) {
    now += change.second == 1 ? count : -count;
    most = std::max(most, now);
  }
  return most;
}

TEST(Driver, AnswersAreCountedFromDeltasAndUsage) {
  World world([](const v1::GenerateRequest&) {
    return StubAnswer{.first_token = 20ms, .gap = 10ms, .tokens = 7, .tokens_per_delta = 3};
  });
  const LoadRun run = world.run(spec_of({{"rate", 50}}, {{"requests", 10}}));
  ASSERT_EQ(run.records.size(), 10u);
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.code, 0) << record.message;
    std::vector<int32_t> counts;
    for (const TokenArrival& arrival : record.arrivals) counts.push_back(arrival.tokens);
    EXPECT_THAT(counts, testing::ElementsAre(3, 3, 1));
    EXPECT_EQ(record.completion_tokens, 7);
    EXPECT_EQ(record.prompt_tokens, 8);
    EXPECT_EQ(record.wanted_prompt_tokens, 8);
    EXPECT_EQ(record.node_id, "stub");
    EXPECT_GE(since_intended_ms(record), 20);
    EXPECT_GE(record.arrivals.back().at_ns - record.sent_ns, 40 * kMs);
    EXPECT_GE(record.sent_ns, record.intended_ns);
  }
  EXPECT_EQ(run.facts.stop_reason, StopReason::kCount);
  EXPECT_EQ(run.facts.lateness.sends, 10);
  EXPECT_EQ(run.facts.model, "stub");
  EXPECT_GT(run.facts.start_unix_ns, 0);
}

TEST(Driver, TimesAreThoseOfTheServer) {
  World world([](const v1::GenerateRequest& request) {
    const int32_t tokens = request.stop().max_new_tokens();
    return StubAnswer{.first_token = std::chrono::milliseconds(tokens),
                      .tokens = tokens,
                      .tokens_per_delta = tokens};
  });
  const LoadRun run = world.run(spec_of(
      {{"rate", 200}}, {{"requests", 200}, {"classes", {{{"answer_tokens", "uniform:5:200"}}}}}));
  std::vector<double> errors;
  for (const RequestRecord& record : run.records) {
    errors.push_back(since_intended_ms(record) - record.wanted_answer_tokens);
    EXPECT_GE(errors.back(), 0);
  }
  // Where nothing else wants the processors it is 0.2 ms (load_driver_bench).
  std::nth_element(errors.begin(), errors.begin() + 100, errors.end());
  EXPECT_LT(errors[100], 5);
}

TEST(Driver, CountsAStallForEveryoneWhoWasMeantToBeSentInIt) {
  World world(at_once);
  auto load = world.load(spec_of({{"rate", 100}, {"gaps", "constant"}}, {{"duration_seconds", 2}}));
  load->on_start([&](auto start) { world.stub.stall(start + 500ms, 1000ms); });
  const auto run = load->run();
  ASSERT_TRUE(run.ok());
  // Every 10 ms one was meant to be sent, and was: each waited for the rest of the stall.
  int stalled = 0;
  for (const RequestRecord& record : run->records) {
    const double into_stall_ms = static_cast<double>(record.intended_ns) / kMs - 500;
    if (into_stall_ms < 0 || into_stall_ms > 950) continue;
    ++stalled;
    EXPECT_GE(since_intended_ms(record), 1000 - into_stall_ms - 5) << record.number;
  }
  EXPECT_GE(stalled, 94);
  EXPECT_LE(stalled, 96);
}

TEST(Driver, AClosedLoopKeepsItsUsersAndNoMore) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.first_token = 5ms}; });
  const LoadRun run =
      world.run(spec_of({{"concurrency", 6}, {"ramp_up_seconds", 0}}, {{"requests", 90}}));
  EXPECT_EQ(run.records.size(), 90u);
  EXPECT_EQ(run.facts.peak_in_flight, 6);
  EXPECT_EQ(most_at_once(run.records), 6);
  EXPECT_THAT(run.records, Each(Field(&RequestRecord::code, 0)));
}

TEST(Driver, AUserThinksBetweenAnswerAndQuestion) {
  World world(at_once);
  const LoadRun run = world.run(
      spec_of({{"concurrency", 1}},
              {{"requests", 4},
               {"classes", {{{"prompt_tokens", 8}, {"answer_tokens", 4}, {"think_ms", 30}}}}}));
  ASSERT_EQ(run.records.size(), 4u);
  for (size_t i = 1; i < run.records.size(); ++i) {
    EXPECT_EQ(run.records[i].intended_ns, run.records[i - 1].end_ns + 30 * kMs);
  }
}

TEST(Driver, CarriesAConversationWithItsRealAnswers) {
  World world(at_once);
  const LoadRun run = world.run(
      spec_of({{"rate", 1000}},
              {{"requests", 12},
               {"conversations_at_once", 2},
               {"classes", {{{"prompt_tokens", 8}, {"answer_tokens", 4}, {"turns", 3}}}}}));
  ASSERT_EQ(run.records.size(), 12u);
  std::map<std::string, std::vector<v1::GenerateRequest>> sessions;
  for (const LoadStub::Seen& seen : world.stub.seen()) {
    EXPECT_FALSE(seen.session.empty());
    sessions[seen.session].push_back(seen.request);
  }
  EXPECT_EQ(sessions.size(), 4u);
  for (const auto& [name, turns] : sessions) {
    ASSERT_EQ(turns.size(), 3u);
    for (size_t turn = 1; turn < 3; ++turn) {
      const auto& before = turns[turn - 1].token_ids().ids();
      const auto& ids = turns[turn].token_ids().ids();
      ASSERT_EQ(ids.size(), before.size() + 4 + 8);
      EXPECT_TRUE(std::equal(before.begin(), before.end(), ids.begin()));
      const std::vector<int32_t> answer(ids.begin() + before.size(),
                                        ids.begin() + before.size() + 4);
      EXPECT_THAT(answer, testing::ElementsAre(0, 1, 2, 3));  // what the stub said
    }
  }
}

TEST(Driver, ATurnIsMeantWhenTheOneBeforeIsOver) {
  World world(
      [](const v1::GenerateRequest&) { return StubAnswer{.first_token = 40ms, .tokens = 4}; });
  const LoadRun run = world.run(
      spec_of({{"rate", 1000}},
              {{"requests", 3},
               {"classes",
                {{{"prompt_tokens", 8}, {"answer_tokens", 4}, {"turns", 3}, {"think_ms", 10}}}}}));
  ASSERT_EQ(run.records.size(), 3u);
  for (size_t turn = 1; turn < 3; ++turn) {
    EXPECT_EQ(run.records[turn].intended_ns, run.records[turn - 1].end_ns + 10 * kMs);
    EXPECT_EQ(run.records[turn].session, run.records[0].session);
    EXPECT_EQ(run.records[turn].turn, static_cast<int32_t>(turn));
  }
}

TEST(Driver, HoldsBackAboveTheLimitAndSaysSo) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.first_token = 50ms}; });
  const LoadRun run =
      world.run(spec_of({{"rate", 1000}}, {{"requests", 20}, {"max_in_flight", 4}}));
  EXPECT_EQ(most_at_once(run.records), 4);
  EXPECT_EQ(run.facts.peak_in_flight, 4);
  EXPECT_GE(run.facts.held_back, 12);
  EXPECT_EQ(run.facts.held_back + run.facts.lateness.sends, 20);
  // Their wait counts: it began when they were meant to be sent.
  EXPECT_GE(since_intended_ms(run.records.back()), 150);
}

TEST(Driver, WarmUpAndCoolDownAreNotMeasured) {
  World world(at_once);
  const LoadRun run = world.run(
      spec_of({{"rate", 100}, {"gaps", "constant"}},
              {{"duration_seconds", 1}, {"warmup_seconds", 0.3}, {"cooldown_seconds", 0.2}}));
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.measured, record.intended_ns >= 300 * kMs && record.intended_ns < 800 * kMs);
  }
  EXPECT_EQ(run.facts.measured_from_ns, 300 * kMs);
  EXPECT_EQ(run.facts.measured_to_ns, 800 * kMs);
}

}  // namespace
}  // namespace switchyard::test
