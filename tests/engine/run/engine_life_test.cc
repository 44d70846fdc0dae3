// How answers begin and end in a running engine: cancel in every phase, deadlines, refusal, drain,
// shutdown, poisoned weights.
#include <gtest/gtest.h>

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

EngineOptions small_steps() {
  EngineOptions options = exact_options();
  options.max_batch_tokens = 4;
  options.max_batch_rows = 2;
  return options;
}

TEST(EngineLife, EndsACancelledAnswerWhileItDecodesAndTakesEverythingBack) {
  RunningEngine running(exact_options());
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

TEST(EngineLife, EndsACancelledAnswerInTheMiddleOfItsPrompt) {
  std::atomic<int> prefilled = 0;
  std::optional<EndReport> report;
  EngineObserver observer;
  observer.on_step = [&](const StepReport& step) { prefilled += step.prefill_tokens; };
  observer.on_end = [&](const EndReport& end) { report = end; };
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
  EXPECT_TRUE(report->cancel_to_free);
}

TEST(EngineLife, EndsAQueuedAnswerThatNeverRan) {
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

TEST(EngineLife, ForgetsACancelOfWhatItDoesNotKnow) {
  RunningEngine running(exact_options());
  running.engine->cancel(RequestId{999}, kCancelled);
  EXPECT_EQ(running.ask(running.fields({4}, 3))->wait().reason, FinishReason::kMaxTokens);
}

TEST(EngineLife, EndsAnAnswerAtItsDeadline) {
  RunningEngine running(exact_options());
  RequestFields fields = running.fields(prompt_of(10), 2000);
  fields.deadline = running.clock.now() + milliseconds(30);
  const EndOfAnswer end = running.ask(std::move(fields))->wait();
  EXPECT_EQ(end.status.code(), Code::kDeadlineExceeded);
  running.expect_nothing_held();
}

TEST(EngineLife, RefusesWhatDoesNotFitTheQueue) {
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

TEST(EngineLife, FinishesWhatItHasAndRefusesNewWorkWhileDraining) {
  RunningEngine running(exact_options());
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

TEST(EngineLife, EndsEverythingWhenItIsDestroyed) {
  RunningEngine running(small_steps());
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(running.ask(running.fields(prompt_of(9), 1000)));
  running.engine.reset();
  for (const auto& answer : answers) EXPECT_EQ(answer->wait().status.code(), Code::kAborted);
}

TEST(EngineLife, ListsWhatIsInFlight) {
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

TEST(EngineLife, SurvivesManyThreadsThatSubmitAndCancel) {
  RunningEngine running(exact_options());
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

TEST(EngineLife, SaysWhatIsWrongWithItsOptions) {
  const auto failure = [](auto change) {
    EngineOptions options = exact_options();
    change(options);
    SteadyClock clock;
    const auto backend = make_backend("cpu", {.threads = 1}).backend;
    return Engine::create({.folder = fixture("lfm2_moe_odd")}, options, *backend, clock, {})
        .status();
  };
  EXPECT_EQ(failure([](EngineOptions& o) { o.max_batch_rows = 0; }).field(), "max_batch_rows");
  EXPECT_EQ(failure([](EngineOptions& o) { o.max_batch_tokens = 1; }).field(), "max_batch_tokens");
  EXPECT_EQ(failure([](EngineOptions& o) { o.kv_memory_bytes = 100; }).field(), "kv_memory_bytes");
  EXPECT_EQ(failure([](EngineOptions& o) { o.graph_rows = {65}; }).field(), "graph_rows");
}

TEST(EngineLife, NamesTheFolderThatHoldsNoModel) {
  SteadyClock clock;
  const auto backend = make_backend("cpu", {.threads = 1}).backend;
  const Status status =
      Engine::create({.folder = "/nonexistent"}, exact_options(), *backend, clock, {}).status();
  EXPECT_NE(status.message().find("/nonexistent/config.json"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace switchyard
