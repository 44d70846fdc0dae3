// The demo model through the whole engine on a GPU: as good as on the CPU, and the same answers
// whoever shares the batch, however steps overlap, and twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "tests/engine/run/engine_driver.h"
#include "tests/model/demo_questions.h"

namespace switchyard {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int kLongestAnswer = 64;
constexpr size_t kShortPrompt = 500;  // bytes of text

// Holds the step thread after the first step of a batch, so that everything asked meanwhile starts
// in one and the same step: who shares a step is then no matter of luck.
class Gate {
 public:
  EngineObserver observer() {
    return {.on_step = [this](const StepReport&) { pass(); }, .on_end = {}};
  }
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    held_ = false;
  }
  void wait_until_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    closed_ = false;
    changed_.notify_all();
  }

 private:
  void pass() {
    std::unique_lock lock(mutex_);
    if (!closed_) return;
    held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !closed_; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;  // guarded by mutex_
  bool held_ = false;    // guarded by mutex_
};

// An engine with the demo model. `backend`: "cpu" or "cuda".
struct Demo {
  explicit Demo(WeightChoice weights, const char* backend = "cuda", EngineOptions options = {})
      : running({.folder = demo_model(), .plan = {.weights = weights}},
                options,
                make_backend(backend, {}).backend,
                gate.observer()) {}

  RequestFields question(Tokens prompt, int longest = kLongestAnswer) {
    RequestFields fields = running.fields(std::move(prompt), longest);
    fields.stop.ignore_eos = false;
    return fields;
  }
  [[nodiscard]] std::vector<DemoQuestion> questions(size_t most_bytes = SIZE_MAX) const {
    return demo_questions(running.engine->tokenizer(), 1, most_bytes);
  }
  static Tokens finished(Answer& answer) {
    const EndOfAnswer end = answer.wait();
    EXPECT_TRUE(end.status.ok()) << end.status.message();
    return answer.tokens();
  }
  // All in one batch from their first step on.
  std::vector<Tokens> answer_together(std::vector<RequestFields> requests) {
    gate.close();
    const auto opener = running.ask(running.fields({5, 6, 7}, 3));
    gate.wait_until_held();
    std::vector<std::shared_ptr<Answer>> answers;
    for (RequestFields& request : requests) answers.push_back(running.ask(std::move(request)));
    gate.open();
    std::vector<Tokens> all;
    for (const auto& answer : answers) all.push_back(finished(*answer));
    finished(*opener);
    running.expect_nothing_held();
    return all;
  }

  Gate gate;
  RunningEngine running;  // its step thread uses the gate
};

class GpuDemo : public testing::Test {
 protected:
  void SetUp() override {
    const MadeBackend made = make_backend("cuda", {});
    if (made.backend == nullptr) GTEST_SKIP() << made.message;
  }
};

// Of all held-out questions, the share answered exactly.
double percent_right(WeightChoice weights, const char* backend) {
  EngineOptions options;
  options.max_batch_rows = 32;
  Demo demo(weights, backend, options);
  std::vector<std::pair<std::string, std::shared_ptr<Answer>>> answers;
  for (DemoQuestion& question : demo.questions()) {
    answers.emplace_back(question.answer,
                         demo.running.ask(demo.question(std::move(question.prompt))));
  }
  EXPECT_GT(answers.size(), 300U);
  double right = 0;
  for (const auto& [wanted, given] : answers) {
    Demo::finished(*given);
    right += given->text() == wanted ? 1 : 0;
  }
  const double percent = 100 * right / static_cast<double>(answers.size());
  std::printf("  %s, %s: %.2f %% of %zu\n", backend, std::string(name_of(weights)).c_str(), percent,
              answers.size());
  return percent;
}

TEST_F(GpuDemo, AnswersAsWellAsOnTheCpuInEveryFormat) {
  const double cpu = percent_right(WeightChoice::kBf16, "cpu");
  EXPECT_GE(cpu, 99);
  EXPECT_NEAR(percent_right(WeightChoice::kBf16, "cuda"), cpu, 0.5);
  EXPECT_NEAR(percent_right(WeightChoice::kFp8, "cuda"), cpu, 1);
  EXPECT_NEAR(percent_right(WeightChoice::kInt8, "cuda"), cpu, 1);
  EXPECT_NEAR(percent_right(WeightChoice::kInt4, "cuda"), cpu, 3);
}

// Every 8th of the questions alone, and among 31 others.
TEST_F(GpuDemo, GivesTheGreedyAnswerOfARequestAloneInABatchOf32) {
  constexpr size_t kRows = 32;
  for (const WeightChoice weights : {WeightChoice::kBf16, WeightChoice::kInt4}) {
    Demo demo(weights);
    const std::vector<DemoQuestion> all = demo.questions();
    std::vector<RequestFields> together;
    for (size_t i = 0; i < all.size(); i += all.size() / kRows) {
      if (together.size() < kRows) together.push_back(demo.question(all[i].prompt));
    }
    ASSERT_EQ(together.size(), kRows);
    std::vector<Tokens> alone;
    for (const RequestFields& request : together) {
      alone.push_back(Demo::finished(*demo.running.ask(demo.question(request.prompt))));
    }
    const std::vector<Tokens> batched = demo.answer_together(std::move(together));
    for (size_t i = 0; i < kRows; ++i) {
      EXPECT_EQ(batched[i], alone[i]) << name_of(weights) << " question " << i;
    }
  }
}

TEST_F(GpuDemo, GivesTheSameAnswersWithAndWithoutOverlapAndGraphs) {
  std::vector<std::vector<Tokens>> answers;
  for (const auto& [overlap, graphs] :
       {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
    EngineOptions options;
    options.overlap = overlap;
    if (!graphs) options.graph_rows = {1};  // of a batch, at most its last row
    Demo demo(WeightChoice::kBf16, "cuda", options);
    std::vector<RequestFields> requests;
    for (const DemoQuestion& question : demo.questions(kShortPrompt)) {
      if (requests.size() < 48) requests.push_back(demo.question(question.prompt));
    }
    answers.push_back(demo.answer_together(std::move(requests)));
  }
  for (size_t i = 1; i < answers.size(); ++i) EXPECT_EQ(answers[i], answers[0]) << "way " << i;
}

TEST_F(GpuDemo, CancelsInTheMiddleAndLeavesTheOthersAlone) {
  Demo demo(WeightChoice::kInt4);
  RunningEngine& running = demo.running;
  const std::vector<DemoQuestion> questions = demo.questions(kShortPrompt);
  std::vector<Tokens> alone;
  for (size_t i = 0; i < 8; ++i) {
    alone.push_back(Demo::finished(*running.ask(demo.question(questions[10 * i].prompt))));
  }
  std::vector<std::pair<RequestId, std::shared_ptr<Answer>>> endless;
  for (size_t i = 0; i < 4; ++i) {
    RequestFields fields = running.fields(questions[7 * i].prompt, 3500);
    const RequestId id = fields.id;
    endless.emplace_back(id, running.ask(std::move(fields)));
  }
  std::vector<std::shared_ptr<Answer>> others;
  for (size_t i = 0; i < 8; ++i) {
    others.push_back(running.ask(demo.question(questions[10 * i].prompt)));
  }
  for (const auto& [id, answer] : endless) {
    answer->wait_for_tokens(20);
    running.engine->cancel(id, Status(Code::kCancelled, "enough"));
  }
  for (const auto& [id, answer] : endless) {
    const EndOfAnswer end = answer->wait();
    EXPECT_EQ(end.status.code(), Code::kCancelled);
    EXPECT_GE(answer->tokens().size(), 20U);
    EXPECT_LT(answer->tokens().size(), 3500U);
  }
  for (size_t i = 0; i < others.size(); ++i) EXPECT_EQ(Demo::finished(*others[i]), alone[i]);
  running.expect_nothing_held();
}

// Every way of drawing, penalties, biases and log-probabilities in one batch; some greedy.
SamplingParameters sampling_of(uint64_t seed) {
  SamplingParameters sampling;
  sampling.seed = seed;
  sampling.temperature = seed % 8 == 0 ? 0 : 0.5F + 0.25F * static_cast<float>(seed % 5);
  if (seed % 3 == 1) sampling.top_k = 1 + static_cast<int>(seed);
  if (seed % 4 == 1) sampling.top_p = 0.8F;
  if (seed % 5 == 1) sampling.min_p = 0.05F;
  if (seed % 6 == 1) sampling.repetition_penalty = 1.2F;
  if (seed % 6 == 2) sampling.presence_penalty = 0.5F;
  if (seed % 6 == 3) sampling.frequency_penalty = 0.5F;
  if (seed % 7 == 1) sampling.logit_bias = {{100, 3}, {101, -100}};
  if (seed % 4 == 2) sampling.logprobs = true;
  if (seed % 8 == 2) sampling.top_logprobs = 5;
  return sampling;
}

TEST_F(GpuDemo, DrawsTheSameTokensFromASeedTwiceAmong64) {
  for (const WeightChoice weights : {WeightChoice::kBf16, WeightChoice::kInt4}) {
    std::vector<std::vector<Tokens>> runs;
    EngineOptions options;
    options.max_batch_rows = 65;  // and the one that opens
    Demo demo(weights, "cuda", options);
    const std::vector<DemoQuestion> questions = demo.questions(kShortPrompt);
    for (int run = 0; run < 2; ++run) {
      std::vector<RequestFields> requests;
      for (uint64_t seed = 1; seed <= 64; ++seed) {
        RequestFields fields = demo.running.fields(questions[3 * seed].prompt, 96);
        fields.sampling = sampling_of(seed);
        requests.push_back(std::move(fields));
      }
      runs.push_back(demo.answer_together(std::move(requests)));
    }
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_EQ(runs[0][i].size(), 96U);
      EXPECT_EQ(runs[1][i], runs[0][i]) << name_of(weights) << " seed " << i + 1;
    }
    // Drawn, and not one answer for all: two neighbours agree nowhere near always.
    EXPECT_NE(runs[0][0], runs[0][1]);
  }
}

}  // namespace
}  // namespace switchyard
