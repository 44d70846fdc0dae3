// How answers begin and end in a running engine, with steps one by one and overlapped: cancel in
// every phase, deadlines, refusal, drain, shutdown.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/engine/run/engine_driver.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;

const Status kCancelled(Code::kCancelled, "the caller left");

std::vector<int32_t> prompt_of(int tokens) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < tokens; ++i) prompt.push_back(3 + i % 300);
  return prompt;
}

// By whether steps overlap.
class EngineLife : public ::testing::TestWithParam<bool> {
 protected:
  static EngineOptions usual() {
    EngineOptions options = exact_options();
    options.overlap = GetParam();
    return options;
  }
  static EngineOptions small_steps() {
    EngineOptions options = usual();
    options.max_batch_tokens = 4;
    options.max_batch_rows = 2;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Steps, EngineLife, ::testing::Bool(), [](const auto& instance) {
  return instance.param ? "Overlapped" : "OneByOne";
});

TEST_P(EngineLife, EndsACancelledAnswerWhileItDecodesAndTakesEverythingBack) {
  RunningEngine running(usual());
  RequestFields fields = running.fields(prompt_of(10), 1500);
  const RequestId id = fields.id;
  const auto answer = running.ask(std::move(fields));
  answer->wait_for_tokens(5);
  running.engine->cancel(id, kCancelled);
  const EndOfAnswer end = answer->wait();
  EXPECT_EQ(end.reason, FinishReason::kError);
  EXPECT_EQ(end.status.code(), Code::kCancelled);
  EXPECT_GE(end.usage.completion_tokens, 5);
  EXPECT_LT(end.usage.completion_tokens, 1500);
  running.expect_nothing_held();
}

TEST_P(EngineLife, EndsACancelledAnswerInTheMiddleOfItsPrompt) {
  std::atomic<int> prefilled = 0;
  std::optional<EndReport> report;
  std::vector<Duration> freed;
  EngineObserver observer;
  observer.on_step = [&](const StepReport& step) { prefilled += step.prefill_tokens; };
  observer.on_end = [&](const EndReport& end) { report = end; };
  observer.on_freed = [&](Duration after_cancel) { freed.push_back(after_cancel); };
  RunningEngine running(small_steps(), "lfm2_moe_odd", observer);
  RequestFields fields = running.fields(prompt_of(1900), 100);
  const RequestId id = fields.id;
  const auto answer = running.ask(std::move(fields));
  while (prefilled < 20) std::this_thread::yield();
  running.engine->cancel(id, kCancelled);
  EXPECT_EQ(answer->wait().status.code(), Code::kCancelled);
  EXPECT_LT(prefilled, 1900);
  EXPECT_TRUE(answer->tokens().empty());
  running.expect_nothing_held();
  running.engine.reset();  // the report was written on its thread
  ASSERT_TRUE(report);
  EXPECT_EQ(report->phase, Phase::kPrefill);
  if (report->cancel_to_free) freed.push_back(*report->cancel_to_free);
  ASSERT_EQ(freed.size(), 1u);
  EXPECT_GT(freed[0], Duration{});
}

TEST_P(EngineLife, EndsAQueuedAnswerThatNeverRan) {
  RunningEngine running(small_steps());
  const auto first = running.ask(running.fields(prompt_of(4), 400));
  const auto second = running.ask(running.fields(prompt_of(4), 400));
  RequestFields fields = running.fields(prompt_of(4), 400);
  const RequestId id = fields.id;
  const auto queued = running.ask(std::move(fields));
  first->wait_for_tokens(2);
  running.engine->cancel(id, kCancelled);
  running.engine->cancel(id, Status(Code::kAborted, "too late to matter"));
  EXPECT_EQ(queued->wait().status.code(), Code::kCancelled);
  EXPECT_EQ(first->wait().reason, FinishReason::kMaxTokens);
  EXPECT_EQ(second->wait().reason, FinishReason::kMaxTokens);
  running.expect_nothing_held();
}

TEST_P(EngineLife, ForgetsACancelOfWhatItDoesNotKnow) {
  RunningEngine running(usual());
  running.engine->cancel(RequestId{999}, kCancelled);
  EXPECT_EQ(running.ask(running.fields({4}, 3))->wait().reason, FinishReason::kMaxTokens);
}

TEST_P(EngineLife, EndsAnAnswerAtItsDeadline) {
  RunningEngine running(usual());
  RequestFields fields = running.fields(prompt_of(10), 2000);
  fields.deadline = running.clock.now() + milliseconds(30);
  const EndOfAnswer end = running.ask(std::move(fields))->wait();
  EXPECT_EQ(end.status.code(), Code::kDeadlineExceeded);
  running.expect_nothing_held();
}

TEST_P(EngineLife, RefusesWhatDoesNotFitTheQueue) {
  EngineOptions options = small_steps();
  options.max_queue = 3;
  RunningEngine running(options);
  std::vector<std::shared_ptr<Answer>> answers;
  Status refused;
  for (int i = 0; i < 20 && refused.ok(); ++i) {
    RequestFields fields = running.fields(prompt_of(8), 200);
    const auto answer = std::make_shared<Answer>();
    fields.sink = answer;
    refused = running.engine->submit(
        std::move(Request::make(std::move(fields), running.engine->request_limits())).value());
    if (refused.ok()) answers.push_back(answer);
  }
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_EQ(refused.reason(), "QUEUE_FULL");
  EXPECT_TRUE(refused.retry_after());
  EXPECT_GE(answers.size(), 3u);
  EXPECT_LE(answers.size(), 5u);
  for (const auto& answer : answers) EXPECT_EQ(answer->wait().reason, FinishReason::kMaxTokens);
}

TEST_P(EngineLife, FinishesWhatItHasAndRefusesNewWorkWhileDraining) {
  RunningEngine running(usual());
  const auto answer = running.ask(running.fields(prompt_of(10), 50));
  running.engine->drain();
  RequestFields late = running.fields({4}, 3);
  late.sink = std::make_shared<Answer>();
  const Status refused = running.engine->submit(
      std::move(Request::make(std::move(late), running.engine->request_limits())).value());
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.reason(), "DRAINING");
  EXPECT_EQ(answer->wait().reason, FinishReason::kMaxTokens);
  EXPECT_TRUE(running.engine->load().draining);
}

// The row after the last token is in flight when that token is learned to be the last.
TEST_P(EngineLife, EndsAtAStopTokenWithNothingAfterIt) {
  RunningEngine running(usual());
  const auto whole = running.ask(running.fields(prompt_of(10), 40));
  whole->wait();
  std::vector<int32_t> expected = whole->tokens();
  const auto stop = expected.begin() + 20;
  expected.erase(std::find(expected.begin(), expected.end(), *stop) + 1, expected.end());
  RequestFields fields = running.fields(prompt_of(10), 40);
  fields.stop.stop_tokens = {expected.back()};
  const auto stopped = running.ask(std::move(fields));
  EXPECT_EQ(stopped->wait().reason, FinishReason::kStopToken);
  EXPECT_EQ(stopped->tokens(), expected);
  running.expect_nothing_held();
}

TEST_P(EngineLife, EndsEverythingWhenItIsDestroyed) {
  RunningEngine running(small_steps());
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(running.ask(running.fields(prompt_of(9), 1000)));
  running.engine.reset();
  for (const auto& answer : answers) EXPECT_EQ(answer->wait().status.code(), Code::kAborted);
}

TEST_P(EngineLife, ListsWhatIsInFlight) {
  RunningEngine running(small_steps());
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 4; ++i) {
    RequestFields fields = running.fields(prompt_of(4), 300);
    fields.label = "ask " + std::to_string(i);
    fields.priority = i;
    answers.push_back(running.ask(std::move(fields)));
  }
  answers.back()->wait_for_tokens(2);
  const std::vector<InFlight> listed = running.engine->in_flight();
  ASSERT_EQ(listed.size(), 4u);
  EXPECT_EQ(listed[0].label, "ask 0");
  EXPECT_EQ(listed[3].priority, 3);
  EXPECT_EQ(listed[3].phase, Phase::kDecode);
  EXPECT_EQ(listed[0].prompt_tokens, 4);
  for (const auto& answer : answers) answer->wait();
  EXPECT_TRUE(running.engine->in_flight().empty());
}

TEST_P(EngineLife, CountsWhoWaitsByPriorityAndForHowLong) {
  RunningEngine running(small_steps());  // two rows
  std::vector<std::shared_ptr<Answer>> answers;
  for (const int priority : {9, 9}) {
    RequestFields fields = running.fields(prompt_of(4), 300);
    fields.priority = priority;
    answers.push_back(running.ask(std::move(fields)));
  }
  for (const auto& answer : answers) answer->wait_for_tokens(1);
  for (const int priority : {-3, 0, 0, 7}) {
    RequestFields fields = running.fields(prompt_of(4), 4);
    fields.priority = priority;
    answers.push_back(running.ask(std::move(fields)));
  }
  const EngineLoad load = running.engine->load();
  EXPECT_EQ(load.running, 2);
  EXPECT_EQ(load.waiting, 4);
  EXPECT_EQ(load.waiting_by_class, (std::array{1, 2, 1}));
  EXPECT_GT(running.engine->load().oldest_wait, Duration::zero());
  EXPECT_GE(running.engine->load().last_progress, load.last_progress);
  for (const auto& answer : answers) answer->wait();
  const EngineLoad idle = running.engine->load();
  EXPECT_EQ(idle.running + idle.waiting, 0);
  EXPECT_EQ(idle.waiting_by_class, (std::array{0, 0, 0}));
  EXPECT_EQ(idle.oldest_wait, Duration::zero());
}

TEST_P(EngineLife, SurvivesManyThreadsThatSubmitAndCancel) {
  RunningEngine running(usual());
  std::vector<std::thread> threads;
  std::atomic<int> ended = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        RequestFields fields = running.fields(prompt_of(1 + (t * 7 + i) % 40), 1 + i % 9);
        const RequestId id = fields.id;
        const auto answer = running.ask(std::move(fields));
        if (i % 3 == 0) running.engine->cancel(id, kCancelled);
        (void)running.engine->load();
        (void)running.engine->in_flight();
        if (i % 2 == 0) answer->wait(), ++ended;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  while (running.engine->load().running + running.engine->load().waiting > 0) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(ended, 4 * 13);
  running.expect_nothing_held();
}

TEST(EngineCreate, SaysWhatIsWrongWithItsOptions) {
  const auto failure = [](auto change) {
    EngineOptions options = exact_options();
    change(options);
    SteadyClock clock;
    const auto backend = make_backend("cpu", {.threads = 1}).backend;
    return Engine::create({.folder = fixture("lfm2_moe_odd")}, options, *backend, clock, {})
        .status();
  };
  EXPECT_EQ(failure([](EngineOptions& o) { o.max_batch_rows = -1; }).field(), "max_batch_rows");
  EXPECT_EQ(failure([](EngineOptions& o) { o.max_batch_tokens = 1; }).field(), "max_batch_tokens");
  EXPECT_EQ(failure([](EngineOptions& o) { o.kv_memory_bytes = 100; }).field(), "kv_memory_bytes");
  EXPECT_EQ(failure([](EngineOptions& o) { o.graph_rows = {65}; }).field(), "graph_rows");
}

TEST(EngineCreate, LeavesABackendThatComputesWhenCalledToItselfStepByStep) {
  const RunningEngine running(exact_options());
  EXPECT_EQ(running.engine->options().overlap, false);
  EXPECT_EQ(running.engine->options().max_batch_rows, 64);
  EXPECT_EQ(running.engine->options().max_batch_tokens, 512);
  EXPECT_TRUE(running.engine->options().graph_rows.empty());
}

TEST(EngineCreate, NamesTheFolderThatHoldsNoModel) {
  SteadyClock clock;
  const auto backend = make_backend("cpu", {.threads = 1}).backend;
  const Status status =
      Engine::create({.folder = "/nonexistent"}, exact_options(), *backend, clock, {}).status();
  EXPECT_NE(status.message().find("/nonexistent/config.json"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace switchyard
