// client/rpc against a scripted node: streaming, retries, deadlines, cancelling, nodes that
// misbehave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <limits>

#include "client/rpc/answer.h"
#include "client/rpc/channel.h"
#include "client/rpc/status_details.h"
#include "tests/client/stub_node.h"

namespace switchyard::test {
namespace {

using namespace std::chrono_literals;
using Event = StubNode::Generated;
using testing::ElementsAre;
using testing::HasSubstr;

class Caller {
 public:
  explicit Caller(const StubNode& node)
      : stub_(v1::GenerationService::NewStub(open_channel({.target = node.address()}))) {}

  AnswerOutcome ask() {
    return generate(*stub_, {}, options, {cancel, [&](std::string_view piece) {
                                            pieces.emplace_back(piece);
                                            if (on_piece) on_piece();
                                          }});
  }

  CallOptions options;
  CancelToken cancel;
  std::vector<std::string> pieces;
  std::function<void()> on_piece;

 private:
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

Script<Event> refusal(grpc::Status status) { return {.events = {}, .status = std::move(status)}; }

grpc::Status busy(std::chrono::milliseconds delay) {
  return status_with(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full", retry_after(delay));
}

TEST(AnswerStream, ShowsEveryPieceAndAddsThemUp) {
  StubNode node;
  node.streams({.events = {started<Event>(), text<Event>("Hel", {1}), text<Event>("", {2}),
                           text<Event>("lo", {3, 4}), finished<Event>(), usage<Event>()}});
  Caller caller(node);
  const AnswerOutcome outcome = caller.ask();
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_THAT(caller.pieces, ElementsAre("Hel", "lo"));
  EXPECT_EQ(outcome.answer.text, "Hello");
  EXPECT_THAT(outcome.answer.token_ids, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(outcome.answer.started.id(), 7);
  EXPECT_EQ(outcome.answer.finished.reason(), v1::FINISH_REASON_EOS);
  EXPECT_EQ(outcome.answer.usage.completion_tokens(), 2);
}

TEST(Retry, AsksAgainWhenTheNodeSaysWhen) {
  StubNode node;
  node.streams(refusal(busy(1ms)));
  node.streams(refusal(status_with(grpc::StatusCode::UNAVAILABLE, "starting", retry_after(1ms))));
  node.streams(answer<Event>("here"));
  Caller caller(node);
  EXPECT_EQ(caller.ask().answer.text, "here");
  EXPECT_EQ(node.stream_attempts(), 3);
}

TEST(Retry, GivesUpAfterThreeAttempts) {
  StubNode node;
  for (int i = 0; i < 5; ++i) node.streams(refusal(busy(1ms)));
  Caller caller(node);
  EXPECT_EQ(caller.ask().status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(node.stream_attempts(), 3);
}

TEST(Retry, LeavesARefusalWithoutRetryInfoAlone) {
  for (const auto code : {grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::UNAVAILABLE}) {
    StubNode node;
    node.streams(refusal({code, "no"}));
    Caller caller(node);
    EXPECT_EQ(caller.ask().status.error_code(), code);
    EXPECT_EQ(node.stream_attempts(), 1);
  }
}

TEST(Retry, NeverRepeatsOtherFailures) {
  for (const auto code : {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::INTERNAL,
                          grpc::StatusCode::ABORTED, grpc::StatusCode::DEADLINE_EXCEEDED}) {
    StubNode node;
    node.streams(refusal(status_with(code, "no", retry_after(1ms))));
    Caller caller(node);
    EXPECT_EQ(caller.ask().status.error_code(), code);
    EXPECT_EQ(node.stream_attempts(), 1);
  }
}

TEST(Retry, NeverRepeatsAnAnswerThatHasBegun) {
  StubNode node;
  node.streams({.events = {started<Event>(), text<Event>("half", {1})}, .status = busy(1ms)});
  node.streams(answer<Event>("whole"));
  Caller caller(node);
  const AnswerOutcome outcome = caller.ask();
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(outcome.answer.text, "half");
  EXPECT_EQ(node.stream_attempts(), 1);
}

TEST(Retry, WaitsAtLeastWhatTheNodeAskedAndAtMostTheWindowMore) {
  std::mt19937_64 random(1);
  for (int attempt = 1; attempt <= 2; ++attempt) {
    for (int i = 0; i < 200; ++i) {
      const auto delay = retry_delay(busy(50ms), attempt, {}, random);
      ASSERT_TRUE(delay);
      EXPECT_GE(*delay, 50ms);
      EXPECT_LE(*delay, 50ms + attempt * 100ms);
    }
  }
  EXPECT_FALSE(retry_delay(busy(50ms), 3, {}, random));
}

TEST(Retry, DoesNotWaitForANodeThatIsBusyForLong) {
  std::mt19937_64 random(1);
  EXPECT_FALSE(retry_delay(busy(1h), 1, {}, random));
}

TEST(Retry, DoesNotWaitPastTheDeadline) {
  StubNode node;
  node.streams(refusal(busy(5s)));
  Caller caller(node);
  caller.options.timeout = 1s;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(caller.ask().status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

TEST(Deadline, EndsAStreamThatHangs) {
  StubNode node;
  node.streams({.events = {started<Event>()}, .status = {}, .then = Script<Event>::Then::kHold});
  Caller caller(node);
  caller.options.timeout = 100ms;
  EXPECT_EQ(caller.ask().status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(Cancel, EndsARunningStreamAndReachesTheNode) {
  StubNode node;
  node.streams({.events = {started<Event>(), text<Event>("so far", {1})},
                .status = {},
                .then = Script<Event>::Then::kHold});
  Caller caller(node);
  std::promise<void> arrived;
  caller.on_piece = [&] { arrived.set_value(); };
  std::thread canceller([&] {
    arrived.get_future().wait();
    caller.cancel.cancel();
  });
  const AnswerOutcome outcome = caller.ask();
  canceller.join();
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(outcome.answer.text, "so far");
  while (node.cancelled_calls() == 0) std::this_thread::sleep_for(1ms);
}

TEST(Cancel, EndsTheWaitBetweenAttempts) {
  StubNode node;
  node.streams(refusal(busy(8s)));
  Caller caller(node);
  std::thread canceller([&] {
    while (node.stream_attempts() == 0) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(20ms);
    caller.cancel.cancel();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(caller.ask().status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
  canceller.join();
}

TEST(Cancel, StopsACallThatHasNotStarted) {
  StubNode node;
  node.streams(answer<Event>("unheard"));
  Caller caller(node);
  caller.cancel.cancel();
  EXPECT_EQ(caller.ask().status.error_code(), grpc::StatusCode::CANCELLED);
}

struct BadStream {
  const char* name;
  std::vector<Event> events;
};

class ConfusedNode : public testing::TestWithParam<BadStream> {};

TEST_P(ConfusedNode, IsReportedAndNeverTakenForAnAnswer) {
  StubNode node;
  node.streams({.events = GetParam().events});
  Caller caller(node);
  const grpc::Status status = caller.ask().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(), HasSubstr("not a stream of an answer"));
}

Event miscounted() {
  Event event = text<Event>("a", {1, 2});
  event.mutable_delta()->set_token_count(1);
  return event;
}

INSTANTIATE_TEST_SUITE_P(
    Streams,
    ConfusedNode,
    testing::Values(
        BadStream{"Empty", {}},
        BadStream{"WithoutUsage", {started<Event>(), text<Event>("a", {1}), finished<Event>()}},
        BadStream{"WithoutStart", {text<Event>("a", {1})}},
        BadStream{"StartedTwice", {started<Event>(), started<Event>()}},
        BadStream{"FinishedTwice", {started<Event>(), finished<Event>(), finished<Event>()}},
        BadStream{"TextAfterTheEnd", {started<Event>(), finished<Event>(), text<Event>("a", {1})}},
        BadStream{"UsageBeforeTheEnd", {started<Event>(), usage<Event>()}},
        BadStream{"Miscounted", {started<Event>(), miscounted()}}),
    [](const auto& stream) { return stream.param.name; });

TEST(Channel, ToNobodyIsUnavailableAtOnce) {
  std::string address;
  {
    const StubNode gone;
    address = gone.address();
  }
  const auto stub = v1::GenerationService::NewStub(open_channel({.target = address}));
  CancelToken cancel;
  const AnswerOutcome outcome = generate(*stub, {}, {}, {cancel, nullptr});
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Channel, RefusesMessagesOverItsLimit) {
  StubNode node;
  node.streams({.events = {started<Event>(), text<Event>(std::string(1 << 20, 'x'), {1})}});
  const auto stub = v1::GenerationService::NewStub(
      open_channel({.target = node.address(), .max_message_bytes = 4096}));
  CancelToken cancel;
  const AnswerOutcome outcome = generate(*stub, {}, {}, {cancel, nullptr});
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(StatusDetails, ReadsWhatTheNodePacked) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("sampling.temperature");
  violation->set_description("-1 is below 0");
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  const grpc::Status status = status_with(grpc::StatusCode::INVALID_ARGUMENT, "one field is wrong",
                                          bad, info, retry_after(1500ms));
  const StatusDetails details = parse_details(status);
  ASSERT_EQ(details.field_violations.size(), 1);
  EXPECT_EQ(details.field_violations[0].field, "sampling.temperature");
  EXPECT_EQ(details.reason, "QUEUE_FULL");
  EXPECT_EQ(details.retry_after, 1500ms);
  const std::string words = describe(status, "host:1");
  for (const char* part : {"host:1 refused", "one field is wrong",
                           "sampling.temperature: -1 is below 0", "QUEUE_FULL", "1.5 s"}) {
    EXPECT_THAT(words, HasSubstr(part));
  }
}

TEST(StatusDetails, SurvivesBytesThatAreNone) {
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\x07garbage"), std::string(1, '\0'), std::string(4096, '\x1a')}) {
    const StatusDetails details = parse_details({grpc::StatusCode::UNAVAILABLE, "x", bytes});
    EXPECT_TRUE(details.field_violations.empty());
    EXPECT_FALSE(details.retry_after);
  }
}

TEST(StatusDetails, ClampsDelaysThatNobodyCanMean) {
  google::rpc::RetryInfo never;
  never.mutable_retry_delay()->set_seconds(std::numeric_limits<int64_t>::max());
  google::rpc::RetryInfo past;
  past.mutable_retry_delay()->set_seconds(std::numeric_limits<int64_t>::min());
  past.mutable_retry_delay()->set_nanos(std::numeric_limits<int32_t>::min());
  EXPECT_EQ(parse_details(status_with(grpc::StatusCode::UNAVAILABLE, "x", never)).retry_after, 24h);
  EXPECT_EQ(parse_details(status_with(grpc::StatusCode::UNAVAILABLE, "x", past)).retry_after, 0ms);
}

}  // namespace
}  // namespace switchyard::test
