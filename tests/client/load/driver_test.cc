// The driver against a server whose times are known: who is counted from when, what faults do, how
// runs end.
#include "client/load/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>

#include "client/load/load.h"
#include "google/rpc/error_details.pb.h"
#include "tests/client/load/load_stub.h"
#include "tests/client/stub_node.h"

namespace switchyard::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Each;
using testing::Field;
using testing::HasSubstr;

constexpr int64_t kMs = 1'000'000;

// One load against one stub.
class World {
 public:
  explicit World(LoadStub::Respond respond, int channels = 1)
      : stub(std::move(respond)), targets({}, {stub.address()}, channels) {}

  std::unique_ptr<Load> load(const json& spec) {
    const auto parsed = parse_load_spec(spec);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    auto opened = Load::open(*parsed, targets, 5s);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  LoadRun run(const json& spec) {
    auto result = load(spec)->run();
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }

  LoadStub stub;
  Targets targets;
};

StubAnswer at_once(const v1::GenerateRequest& request) {
  return {.tokens = request.stop().max_new_tokens()};
}

// Requests of 8 prompt and 4 answer tokens.
json spec_of(const json& arrival, const json& more = json::object()) {
  json spec = {{"arrival", arrival},
               {"classes", {{{"prompt_tokens", 8}, {"answer_tokens", 4}}}},
               {"grace_seconds", 10}};
  spec.merge_patch(more);
  return spec;
}

double since_intended_ms(const RequestRecord& record) {
  return static_cast<double>(record.arrivals.at(0).at_ns - record.intended_ns) / kMs;
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
    EXPECT_GE(record.arrivals.back().at_ns - record.arrivals.front().at_ns, 19 * kMs);
    EXPECT_GE(record.sent_ns, record.intended_ns);
  }
  EXPECT_EQ(run.facts.stop_reason, StopReason::kCount);
  EXPECT_EQ(run.facts.lateness.sends, 10);
  EXPECT_EQ(run.facts.model, "stub");
  EXPECT_GT(run.facts.start_unix_ns, 0);
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
  EXPECT_EQ(world.stub.most_open_streams(), 6);
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
  EXPECT_EQ(world.stub.most_open_streams(), 4);
  EXPECT_EQ(run.facts.peak_in_flight, 4);
  EXPECT_GE(run.facts.held_back, 12);
  EXPECT_EQ(run.facts.held_back + run.facts.lateness.sends, 20);
  // Their wait counts: it began when they were meant to be sent.
  EXPECT_GE(since_intended_ms(run.records.back()), 150);
}

TEST(Driver, CallersLeaveAfterATimeOrAfterTokens) {
  World world([](const v1::GenerateRequest&) {
    return StubAnswer{.first_token = 1ms, .gap = 5ms, .tokens = 10'000};
  });
  const auto leaving = [](const char* how, int64_t value) {
    return json{{"classes", {{{"prompt_tokens", 8}, {"faults", {{"cancel", 1}, {how, value}}}}}},
                {"requests", 8}};
  };
  const LoadRun by_tokens = world.run(spec_of({{"rate", 200}}, leaving("cancel_after_tokens", 3)));
  for (const RequestRecord& record : by_tokens.records) {
    EXPECT_EQ(record.fault, LoadFault::kCancel);
    EXPECT_EQ(record.code, grpc::StatusCode::CANCELLED);
    EXPECT_EQ(record.arrivals.size(), 3u);
  }
  const LoadRun by_time = world.run(spec_of({{"rate", 200}}, leaving("cancel_after_ms", 40)));
  for (const RequestRecord& record : by_time.records) {
    EXPECT_EQ(record.code, grpc::StatusCode::CANCELLED);
    EXPECT_FALSE(record.cut);
    EXPECT_GE(record.end_ns - record.sent_ns, 39 * kMs);
    EXPECT_LT(record.end_ns - record.sent_ns, 2000 * kMs);
  }
  while (world.stub.open_streams() > 0) std::this_thread::yield();
  EXPECT_EQ(world.stub.cancelled(), 16);
}

TEST(Driver, DeadlinesEndAnswersThatTakeLonger) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.gap = 5ms, .tokens = 10'000}; });
  const LoadRun run = world.run(spec_of(
      {{"rate", 200}},
      {{"classes", {{{"prompt_tokens", 8}, {"faults", {{"deadline", 1}, {"deadline_ms", 30}}}}}},
       {"requests", 5}}));
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.code, grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_GT(record.arrivals.size(), 0u);
    EXPECT_TRUE(ended_as_meant(record));
  }
}

TEST(Driver, SlowReadersTakeTheirTimeAndGetEverything) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.tokens = 5}; });
  const LoadRun run = world.run(spec_of(
      {{"rate", 200}},
      {{"classes", {{{"prompt_tokens", 8}, {"faults", {{"slow_reader", 1}, {"pause_ms", 10}}}}}},
       {"requests", 5}}));
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.code, 0) << record.message;
    EXPECT_EQ(record.completion_tokens, 5);
    EXPECT_GE(record.end_ns - record.sent_ns, 7 * 10 * kMs);  // started, five tokens, finished
  }
}

TEST(Driver, MalformedRequestsAreMeantToBeRefused) {
  World world([](const v1::GenerateRequest& request) {
    const bool bad = request.sampling().temperature() < 0 || request.sampling().top_p() > 1 ||
                     request.stop().max_new_tokens() < 1 || request.priority() > 100;
    if (!bad) return StubAnswer{};
    return StubAnswer{.refusal = {grpc::StatusCode::INVALID_ARGUMENT, "out of range"}};
  });
  const LoadRun run = world.run(spec_of(
      {{"rate", 1000}}, {{"classes", {{{"prompt_tokens", 8}, {"faults", {{"malformed", 0.5}}}}}},
                         {"requests", 60},
                         {"stop", {{"most_errors", 0}}}}));
  ASSERT_EQ(run.records.size(), 60u);
  int refused = 0;
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.code != 0, record.fault == LoadFault::kMalformed);
    refused += record.code != 0;
  }
  EXPECT_GT(refused, 15);
  EXPECT_LT(refused, 45);
}

TEST(Driver, RefusalsAreRetriedOnlyWhereAskedFor) {
  std::atomic<int> calls = 0;
  World world([&](const v1::GenerateRequest& request) {
    if (calls++ % 2 == 1) return at_once(request);
    google::rpc::ErrorInfo info;
    info.set_reason("QUEUE_FULL");
    return StubAnswer{.refusal = status_with(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", info,
                                             retry_after(1ms))};
  });
  const LoadRun refused = world.run(spec_of({{"concurrency", 1}}, {{"requests", 2}}));
  EXPECT_EQ(refused.records[0].code, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.records[0].reason, "QUEUE_FULL");
  EXPECT_TRUE(refused.records[0].retry_hint);
  EXPECT_EQ(refused.records[1].code, 0);
  const LoadRun retried =
      world.run(spec_of({{"concurrency", 1}}, {{"requests", 2}, {"retries", 1}}));
  for (const RequestRecord& record : retried.records) {
    EXPECT_EQ(record.code, 0) << record.message;
    EXPECT_EQ(record.more_attempts, 1);
    EXPECT_EQ(record.reason, "");
  }
}

TEST(Driver, AStreamThatIsNoAnswerIsBroken) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.without_usage = true}; });
  const LoadRun run = world.run(spec_of({{"rate", 500}}, {{"requests", 3}}));
  for (const RequestRecord& record : run.records) {
    EXPECT_TRUE(record.broken);
    EXPECT_EQ(record.code, grpc::StatusCode::INTERNAL);
    EXPECT_THAT(record.message, HasSubstr("before `usage`"));
  }
}

TEST(Driver, AnInterruptEndsItWithWhatThereIs) {
  World world([](const v1::GenerateRequest& request) {
    return request.request_id() == "load-0-0" ? at_once(request)
                                              : StubAnswer{.gap = 10ms, .tokens = 1'000'000};
  });
  auto load = world.load(spec_of({{"rate", 100}}, {{"duration_seconds", 3600}}));
  std::promise<void> enough;
  load->on_progress([&, told = false](const LoadProgress& progress) mutable {
    if (progress.now.sent >= 10 && !std::exchange(told, true)) enough.set_value();
  });
  std::thread person([&] {
    enough.get_future().wait();
    load->stop();
  });
  const auto run = load->run();
  person.join();
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->facts.stop_reason, StopReason::kInterrupted);
  ASSERT_GE(run->records.size(), 10u);
  EXPECT_EQ(run->records[0].code, 0);
  for (size_t i = 1; i < run->records.size(); ++i) {
    EXPECT_TRUE(run->records[i].cut);
    EXPECT_GE(run->records[i].end_ns, 0);
  }
}

TEST(Driver, TheTimeOfGraceEndsAnswersThatDoNot) {
  World world(
      [](const v1::GenerateRequest&) { return StubAnswer{.gap = 10ms, .tokens = 1'000'000}; });
  const LoadRun run = world.run(spec_of(
      {{"rate", 100}}, {{"duration_seconds", 0.2}, {"grace_seconds", 0.2}, {"max_in_flight", 3}}));
  EXPECT_EQ(run.facts.stop_reason, StopReason::kDuration);
  EXPECT_THAT(run.facts.stop_detail, HasSubstr("cut"));
  EXPECT_THAT(run.records, Each(Field(&RequestRecord::cut, true)));
  int64_t never_sent = 0;
  for (const RequestRecord& record : run.records) never_sent += record.sent_ns < 0;
  EXPECT_EQ(never_sent, static_cast<int64_t>(run.records.size()) - 3);
  EXPECT_LT(run.facts.wall_ns, 5'000 * kMs);
}

TEST(Driver, TooManyErrorsStopIt) {
  World world([](const v1::GenerateRequest&) {
    return StubAnswer{.refusal = {grpc::StatusCode::UNAVAILABLE, "gone"}};
  });
  const LoadRun run = world.run(
      spec_of({{"rate", 200}}, {{"duration_seconds", 3600}, {"stop", {{"most_errors", 0.1}}}}));
  EXPECT_EQ(run.facts.stop_reason, StopReason::kErrors);
  EXPECT_THAT(run.facts.stop_detail, HasSubstr("failed"));
}

TEST(Driver, MoreAndMoreInFlightStopsIt) {
  World world([](const v1::GenerateRequest&) { return StubAnswer{.gap = 10s, .tokens = 1'000}; });
  const LoadRun run = world.run(spec_of(
      {{"rate", 100}}, {{"duration_seconds", 3600}, {"stop", {{"saturation_seconds", 1}}}}));
  EXPECT_EQ(run.facts.stop_reason, StopReason::kSaturated);
  EXPECT_THAT(run.facts.stop_detail, HasSubstr("rose"));
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

TEST(Targets, AreAskedInTurnOverConnectionsOfTheirOwn) {
  LoadStub first(at_once);
  LoadStub second(at_once);
  Targets targets({}, {first.address(), second.address()}, 2);
  auto load =
      Load::open(*parse_load_spec(spec_of({{"rate", 1000}}, {{"requests", 40}})), targets, 5s);
  ASSERT_TRUE(load.ok()) << load.status();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(first.seen().size(), 20u);
  EXPECT_EQ(second.seen().size(), 20u);
  EXPECT_EQ(run->records[0].target, first.address());
  EXPECT_EQ(run->records[1].target, second.address());
  EXPECT_EQ(run->facts.channels, 2);
}

TEST(Targets, AreWaitedForUntilTheyServe) {
  LoadStub stub(at_once);
  stub.set_serving(false);
  Targets targets({}, {stub.address()}, 1);
  const absl::Status status = targets.wait_until_ready(300ms);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not serving"));
  std::thread later([&] { stub.set_serving(true); });
  EXPECT_TRUE(targets.wait_until_ready(10s).ok());
  later.join();
}

TEST(GreedyCheck, FindsAnswersThatTheLoadChanged) {
  std::atomic<int> open = 0;
  std::atomic<bool> changed = false;
  World world([&](const v1::GenerateRequest& request) {
    EXPECT_EQ(request.sampling().temperature(), 0);
    ++open;
    // The 31st and later are asked alone.
    return StubAnswer{.tokens = changed && open > 30 ? 3 : request.stop().max_new_tokens()};
  });
  const json spec = spec_of({{"rate", 500}}, {{"requests", 30}, {"check_greedy", 5}});
  const LoadRun same = world.run(spec);
  ASSERT_TRUE(same.facts.greedy);
  ASSERT_EQ(same.facts.greedy->size(), 5u);
  EXPECT_THAT(*same.facts.greedy, Each(Field(&GreedyComparison::diverged_at, -1)));
  open = 0;
  changed = true;
  const LoadRun other = world.run(spec);
  ASSERT_EQ(other.facts.greedy->size(), 5u);
  EXPECT_THAT(*other.facts.greedy, Each(Field(&GreedyComparison::diverged_at, 3)));
}

TEST(Sweep, HalvesItsWayToTheHighestRateThatIsMet) {
  World world(at_once);
  auto load = world.load(spec_of({{"rate", 1}}, {{"duration_seconds", 1}}));
  const auto judge = [](const LoadRun& run) {
    // Meets up to 60 requests/s: told from the specification, so that no clock decides.
    const double rate = json::parse(run.facts.spec_json)["arrival"]["rate"];
    return SweepVerdict{.met = rate <= 60, .why = "by decree"};
  };
  const auto result =
      load->sweep({.lowest_rate = 20, .highest_rate = 180, .seconds = 1, .precision = 0.2}, judge);
  ASSERT_TRUE(result.ok()) << result.status();
  std::set<uint64_t> seeds;
  for (const SweepPoint& point : result->points) seeds.insert(point.run.facts.seed);
  EXPECT_EQ(seeds.size(), result->points.size());
  EXPECT_EQ(result->points[0].rate, 20);
  EXPECT_EQ(result->points[1].rate, 180);
  EXPECT_LE(result->best_rate, 60);
  EXPECT_GE(result->best_rate, 50);
  EXPECT_FALSE(result->at_the_limit);
}

}  // namespace
}  // namespace switchyard::test
