// The driver where things go wrong: on purpose, by the server, and by whoever ends the run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "google/rpc/error_details.pb.h"

#include "tests/client/load/load_world.h"
#include "tests/client/stub_node.h"

namespace switchyard::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Each;
using testing::Field;
using testing::HasSubstr;

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
  int unreadable = 0;
  for (const RequestRecord& record : run.records) {
    EXPECT_EQ(record.code != 0, record.fault == LoadFault::kMalformed);
    refused += record.code != 0;
    unreadable += record.message == "no request";
  }
  EXPECT_GT(unreadable, 5);
  EXPECT_LT(unreadable, refused - 5);
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
  load->on_progress([&, told = false](const LoadProgress& progress, const LiveLatency&) mutable {
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

}  // namespace
}  // namespace switchyard::test
