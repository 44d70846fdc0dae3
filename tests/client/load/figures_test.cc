// Figures of runs that were made by hand: what counts, from when, and to whom it is put down.
#include "client/load/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

Figures figures(const LoadRun& run) { return figures_of(run, {}); }

RequestRecord with_class(RequestRecord record, const std::string& name) {
  record.class_name = name;
  return record;
}

TEST(Figures, CountLatenciesFromTheIntendedSend) {
  RunBuilder builder;
  builder.add(answered(1 * kSecond, {.send_ns = 300 * kMs, .first_ns = 20 * kMs, .messages = 3}));
  const Figures f = figures(builder.measured_until(2 * kSecond));
  EXPECT_DOUBLE_EQ(f.latencies.ttft_ms.percentiles[0].value, 320);
  EXPECT_DOUBLE_EQ(f.latencies.e2e_ms.percentiles[0].value, 320 + 2 * 10 + 1);
  EXPECT_DOUBLE_EQ(f.send_delay_ms.percentiles[0].value, 300);
  EXPECT_DOUBLE_EQ(f.node_ttft_ms.percentiles[0].value, 19);
  EXPECT_NEAR(f.outside_ttft_ms.percentiles[0].value, 1, 1e-9);
  EXPECT_DOUBLE_EQ(f.queue_ms.percentiles[0].value, 1);
}

TEST(Figures, CountTokensAndNotMessages) {
  RunBuilder builder;
  // First message of 3 tokens at 20 ms, then 3 more each 30 ms: gaps of 10 ms, 3 for each message.
  builder.add(answered(0, {.gap_ns = 30 * kMs, .messages = 4, .tokens = 3}));
  const Figures f = figures(builder.measured_until(kSecond));
  EXPECT_EQ(f.latencies.itl_ms.count, 9);
  EXPECT_DOUBLE_EQ(f.latencies.itl_ms.max, 10);
  EXPECT_DOUBLE_EQ(f.latencies.tpot_ms.percentiles[0].value, 10);
  EXPECT_EQ(f.tokens.output, 12);
  EXPECT_EQ(f.tokens.output_by_usage, 12);
}

TEST(Figures, WeighGapsByTokensAndRequestsAlike) {
  RunBuilder builder;
  RequestRecord record = answered(0, {.messages = 1});
  record.arrivals = {{20 * kMs, 1}, {30 * kMs, 1}, {30 * kMs, 0}, {110 * kMs, 4}};
  record.completion_tokens = 6;
  builder.add(record);
  builder.add(answered(0, {.gap_ns = 50 * kMs, .messages = 2}));
  const Figures f = figures(builder.measured_until(kSecond));
  // Gaps 10, then 80 ms for 4 tokens: 20 20 20 20; and 50 of the other answer.
  EXPECT_EQ(f.latencies.itl_ms.count, 6);
  EXPECT_DOUBLE_EQ(f.latencies.itl_ms.mean.value, (10 + 4 * 20 + 50) / 6.0);
  EXPECT_EQ(f.latencies.itl_ms.groups, 2);
  EXPECT_DOUBLE_EQ(f.latencies.tpot_ms.mean.value, (90 / 5.0 + 50) / 2);
}

TEST(Figures, TakeFirstTokensFromTheFirstMessageThatHasAny) {
  RunBuilder builder;
  RequestRecord record = answered(0, {.messages = 1});
  record.arrivals = {{5 * kMs, 0}, {25 * kMs, 1}};
  builder.add(record);
  EXPECT_DOUBLE_EQ(figures(builder.measured_until(kSecond)).latencies.ttft_ms.max, 25);
}

TEST(Figures, LeaveOutWhatWasNotMeasuredFailedOrWasMeantToFail) {
  RunBuilder builder;
  builder.add(4, 0, kMs, {});
  RequestRecord warm_up = answered(0, {.first_ns = kSecond});
  warm_up.measured = false;
  RequestRecord cancelled = answered(0, {.first_ns = kSecond});
  cancelled.fault = LoadFault::kCancel;
  cancelled.code = 1;
  RequestRecord broken = answered(0, {.first_ns = kSecond});
  broken.broken = true;
  RequestRecord cut = answered(0, {.first_ns = kSecond});
  cut.cut = true;
  cut.code = 1;
  RequestRecord refused = failed(0, 8, "QUEUE_FULL");
  refused.retry_hint = true;
  for (const RequestRecord& record : {warm_up, cancelled, broken, cut, refused})
    builder.add(record);
  builder.add(failed(0, 14)).add(failed(0, 13));
  const Figures f = figures(builder.measured_until(kSecond));
  EXPECT_EQ(f.outcomes.asked, 9);
  EXPECT_EQ(f.outcomes.completed, 4);
  EXPECT_EQ(f.outcomes.failed, 3);
  EXPECT_EQ(f.outcomes.broken, 1);
  EXPECT_EQ(f.outcomes.cut, 1);
  EXPECT_EQ(f.outcomes.refused_with_hint, 1);
  EXPECT_EQ(f.outcomes.refused_without_hint, 1);
  EXPECT_DOUBLE_EQ(f.outcomes.error_share(), 0.5);
  EXPECT_EQ(f.latencies.ttft_ms.count, 4);
  EXPECT_DOUBLE_EQ(f.latencies.ttft_ms.max, 20);
}

TEST(Figures, TellErrorsApartByCodeAndReason) {
  RunBuilder builder;
  builder.add(failed(0, 8, "QUEUE_FULL")).add(failed(0, 8, "QUEUE_FULL"));
  builder.add(failed(0, 8, "TOKEN_BUDGET")).add(failed(0, 14));
  RequestRecord broken = answered(0, {});
  broken.broken = true;
  builder.add(broken);
  const std::vector<ErrorFigures> errors = figures(builder.measured_until(kSecond)).errors;
  ASSERT_THAT(errors, SizeIs(4));
  EXPECT_EQ(errors[0].count, 2);
  EXPECT_EQ(errors[0].reason, "QUEUE_FULL");
  EXPECT_EQ(errors[1].code, 0);
}

TEST(Figures, KeepFaultsOnPurposeApart) {
  RunBuilder builder;
  for (int i = 0; i < 3; ++i) {
    RequestRecord record = i < 2 ? failed(0, 3) : answered(0, {});
    record.fault = LoadFault::kMalformed;
    builder.add(record);
  }
  const Figures f = figures(builder.measured_until(kSecond));
  ASSERT_THAT(f.faults, SizeIs(1));
  EXPECT_EQ(f.faults[0].asked, 3);
  EXPECT_THAT(f.faults[0].codes, ElementsAre(Pair(0, 1), Pair(3, 2)));
  EXPECT_EQ(f.outcomes.asked, 0);
  EXPECT_THAT(f.errors, SizeIs(0));
}

TEST(Figures, TellWhatWasLostAndWhatWasAnsweredElsewhere) {
  RunBuilder builder;
  RequestRecord lost = answered(0, {});
  lost.code = 14;
  builder.add(lost).add(failed(0, 14));  // the second never began
  for (const char* target : {"127.0.0.1:50051", "127.0.0.1:50052"}) {
    RequestRecord retried = answered(0, {});
    retried.more_attempts = 2;
    retried.first_target = "127.0.0.1:50051";
    retried.target = target;
    builder.add(retried);
  }
  RequestRecord in_vain = failed(0, 14);
  in_vain.more_attempts = 1;
  builder.add(in_vain);
  const Outcomes outcomes = figures(builder.measured_until(kSecond)).outcomes;
  EXPECT_EQ(outcomes.failed, 3);
  EXPECT_EQ(outcomes.lost, 1);
  EXPECT_EQ(outcomes.retried, 3);
  EXPECT_EQ(outcomes.retried_completed, 2);
  EXPECT_EQ(outcomes.moved, 1);
  EXPECT_EQ(outcomes.more_attempts, 5);
}

TEST(Figures, TellWhatCameAfterEachEvent) {
  RunBuilder builder;
  builder.add(10, 0, 100 * kMs, {});  // these end 111 ms after they were meant
  RequestRecord lost = answered(450 * kMs, {});
  lost.code = 14;
  builder.add(lost);
  RequestRecord early = failed(450 * kMs, 14);
  early.measured = false;
  builder.add(early);
  builder.facts().events = {
      {.what = "kill", .planned_ns = 400 * kMs, .began_ns = 500 * kMs, .ended_ns = 501 * kMs},
      {.what = "start", .planned_ns = 800 * kMs, .began_ns = 800 * kMs, .ended_ns = 801 * kMs},
      {.what = "late", .planned_ns = 9 * kSecond}};
  const std::vector<EventFigures> events = figures(builder.measured_until(kSecond)).events;
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[0].event.what, "kill");
  EXPECT_EQ(events[0].outcomes.lost, 1);
  EXPECT_EQ(events[0].outcomes.failed, 1);
  EXPECT_EQ(events[0].outcomes.completed, 3);  // those meant at 400, 500 and 600 ms
  EXPECT_EQ(events[1].outcomes.completed, 3);
  EXPECT_EQ(events[2].outcomes.asked, 0);
}

TEST(Figures, NoticeWhenArrivalsAndUsageDisagree) {
  RunBuilder builder;
  builder.add(3, 0, kMs, {});
  RequestRecord record = answered(0, {});
  record.completion_tokens = 11;
  builder.add(record);
  RequestRecord silent = answered(0, {});
  silent.completion_tokens = -1;
  builder.add(silent);
  const TokenFigures tokens = figures(builder.measured_until(kSecond)).tokens;
  EXPECT_EQ(tokens.disagreeing, 1);
  EXPECT_EQ(tokens.without_usage, 1);
  EXPECT_EQ(tokens.output, 50);
  EXPECT_EQ(tokens.output_by_usage, 41);
  EXPECT_EQ(tokens.prompt, 400);
  EXPECT_EQ(tokens.cached, 100);
}

TEST(Rates, CountWhatHappenedInTheMeasuredSpanWhoeverAsked) {
  RunBuilder builder;
  // One request each 100 ms for 20 s, 10 tokens over 90 ms each: 100 tokens/s, but for the edges.
  builder.add(200, 0, 100 * kMs, {});
  builder.facts().measured_from_ns = 5 * kSecond;
  LoadRun run = builder.measured_until(15 * kSecond);
  for (RequestRecord& record : run.records) record.measured = record.intended_ns >= 5 * kSecond;
  const Rates rates = figures(run).rates;
  EXPECT_DOUBLE_EQ(rates.from_seconds, 5);
  EXPECT_DOUBLE_EQ(rates.to_seconds, 15);
  EXPECT_NEAR(rates.output_tokens_per_second.value, 100, 0.5);
  EXPECT_NEAR(rates.requests_per_second.value, 10, 0.11);
  EXPECT_NEAR(rates.input_tokens_per_second.value, 1000, 1);
  EXPECT_NEAR(rates.requests_per_second.high, 10, 0.2);
}

TEST(Rates, GoOnToTheLastEndWhereMostOfTheWorkCameLater) {
  RunBuilder builder;
  // A burst of ten at once, done after 2 s.
  builder.add(10, 0, 0, {.first_ns = kSecond, .gap_ns = 100 * kMs, .messages = 11, .end_ns = 0});
  const Rates rates = figures(builder.measured_until(kMs)).rates;
  EXPECT_DOUBLE_EQ(rates.to_seconds, 2);
  EXPECT_NEAR(rates.output_tokens_per_second.value, 50, 5.1);  // the last moment is left out
}

TEST(Goodput, IsTheShareOfAllThatWereAskedFor) {
  RunBuilder builder;
  builder.add(6, 0, kMs, {});                       // good
  builder.add(2, 0, kMs, {.first_ns = 600 * kMs});  // first token too late
  builder.add(1, 0, kMs, {.gap_ns = 60 * kMs});     // too slow after it
  builder.add(failed(0, 8));                        // not good either
  Objectives objectives;
  ASSERT_TRUE(add_objective("ttft=500ms,tpot=50", objectives).ok());
  const Figures f = figures_of(builder.measured_until(kSecond), objectives);
  ASSERT_TRUE(f.goodput);
  EXPECT_EQ(f.goodput->good, 6);
  EXPECT_DOUBLE_EQ(f.goodput->share, 0.6);
  EXPECT_DOUBLE_EQ(f.goodput->per_second.value, 6);
  EXPECT_DOUBLE_EQ(f.goodput->tokens_per_second.value, 60);
  EXPECT_FALSE(figures(builder.measured_until(kSecond)).goodput);
}

TEST(Goodput, HoldsEachClassToItsOwnObjectives) {
  RunBuilder builder;
  builder.add(with_class(answered(0, {.first_ns = 300 * kMs}), "chat"));
  builder.add(with_class(answered(0, {.first_ns = 300 * kMs}), "batch"));
  Objectives objectives;
  ASSERT_TRUE(add_objective("ttft=1s", objectives).ok());
  ASSERT_TRUE(add_objective("chat:ttft=200", objectives).ok());
  const Figures f = figures_of(builder.measured_until(kSecond), objectives);
  ASSERT_THAT(f.classes, SizeIs(2));
  EXPECT_EQ(f.classes[0].name, "batch");
  EXPECT_DOUBLE_EQ(f.classes[0].goodput->share, 1);
  EXPECT_DOUBLE_EQ(f.classes[1].goodput->share, 0);
  EXPECT_DOUBLE_EQ(f.goodput->share, 0.5);
}

TEST(Goodput, OfAnItlObjectiveAllowsOneGapInAHundred) {
  Slo slo;
  slo.itl_ms = 20;
  RequestRecord record = answered(0, {.messages = 201});
  EXPECT_TRUE(keeps(slo, record));
  record.arrivals.back().at_ns += 500 * kMs;
  EXPECT_TRUE(keeps(slo, record));
  for (size_t i = 190; i < 201; ++i) record.arrivals[i].at_ns += 500 * kMs * static_cast<int>(i);
  EXPECT_FALSE(keeps(slo, record));
}

TEST(Nodes, AreToldApartAndGetTheFailuresOfTheirAddress) {
  RunBuilder builder;
  builder.add(3, 0, kMs, {});
  RequestRecord other = answered(0, {.first_ns = 40 * kMs});
  other.node_id = "node-b";
  other.target = "127.0.0.1:50052";
  builder.add(other);
  builder.add(failed(0, 8));
  RequestRecord silent = failed(0, 14);
  silent.target = "127.0.0.1:50053";
  builder.add(silent);
  const std::vector<NodeFigures> nodes = figures(builder.measured_until(kSecond)).nodes;
  ASSERT_THAT(nodes, SizeIs(3));
  EXPECT_EQ(nodes[0].name, "127.0.0.1:50053");
  EXPECT_EQ(nodes[1].name, "node-a");
  EXPECT_EQ(nodes[1].outcomes.asked, 4);
  EXPECT_EQ(nodes[1].outcomes.failed, 1);
  EXPECT_EQ(nodes[1].output_tokens, 30);
  EXPECT_DOUBLE_EQ(nodes[1].cached_share, 0.25);
  EXPECT_DOUBLE_EQ(nodes[2].ttft_p50_ms, 40);
}

TEST(Sessions, AreStickyWhereTurnsMeetTheNodeOfTheTurnBefore) {
  RunBuilder builder;
  const auto turn = [&](int64_t session, int32_t number, const std::string& node) {
    RequestRecord record = answered(number * kSecond, {});
    record.session = session;
    record.turn = number;
    record.node_id = node;
    builder.add(record);
  };
  turn(1, 1, "a");  // out of order on purpose
  turn(1, 0, "a");
  turn(1, 2, "b");
  turn(1, 3, "b");
  turn(2, 0, "a");
  turn(2, 1, "");  // failed before any node spoke
  turn(2, 2, "a");
  const SessionFigures sessions = figures(builder.measured_until(4 * kSecond)).sessions;
  EXPECT_EQ(sessions.sessions, 2);
  EXPECT_EQ(sessions.turns, 7);
  EXPECT_EQ(sessions.later_turns, 3);
  EXPECT_EQ(sessions.same_node, 2);
}

TEST(Sessions, AreFairWhereAllGetTheirTokensAsFast) {
  RunBuilder builder;
  for (int64_t session = 0; session < 2; ++session) {
    RequestRecord record = answered(0, {.first_ns = 0, .messages = 11, .end_ns = 0});
    if (session == 1) record.end_ns *= 3;  // the same tokens in three times the time
    record.session = session;
    builder.add(record);
  }
  // Speeds 3 and 1: 16 / (2 * 10).
  EXPECT_NEAR(figures(builder.measured_until(kSecond)).sessions.fairness, 0.8, 1e-9);
}

TEST(SweepVerdict, AsksEveryClassForItsShareOfGoodOnes) {
  RunBuilder builder;
  for (int i = 0; i < 99; ++i) builder.add(with_class(answered(0, {}), "chat"));
  builder.add(with_class(answered(0, {.first_ns = kSecond}), "chat"));
  for (int i = 0; i < 9; ++i) builder.add(with_class(answered(0, {}), "batch"));
  Objectives objectives;
  ASSERT_TRUE(add_objective("ttft=500", objectives).ok());
  EXPECT_TRUE(sweep_verdict(builder.measured_until(kSecond), objectives).met);
  builder.add(with_class(answered(0, {.first_ns = kSecond}), "batch"));
  const SweepVerdict verdict = sweep_verdict(builder.measured_until(kSecond), objectives);
  EXPECT_FALSE(verdict.met);
  EXPECT_THAT(verdict.why, HasSubstr("batch: 90.00 % good"));
}

TEST(SweepVerdict, IsNotMetByALateClientOrByNothing) {
  RunBuilder builder;
  EXPECT_FALSE(sweep_verdict(builder.measured_until(kSecond), {}).met);
  builder.add(50, 0, kMs, {});
  LoadRun run = builder.measured_until(kSecond);
  EXPECT_TRUE(sweep_verdict(run, {}).met);
  run.facts.lateness.late_sends = 1;
  EXPECT_FALSE(sweep_verdict(run, {}).met);
}

}  // namespace
}  // namespace switchyard::test
