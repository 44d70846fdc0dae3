// Whole models on a GPU in bf16 against float32: the tiny checkpoints of tests/fixtures/models.
//
// The reference is the CPU backend (f32 activations and weights; model_test says that it is the
// oracle's run within 1e-4) with its router told to choose what the GPU chose. Both then compute
// one function, and a small difference is one of rounding. Whether a choice was right is asked
// apart: by the CPU's own scores no expert left out is better than one chosen by more than kNoise.
// So where the router's margin is above kNoise, the choices are equal. And where the GPU chose
// everything as the CPU does, its logits are compared with transformers' stored ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include "kernels/make_backend.h"
#include "tests/model/model_driver.h"
#include "tests/model/routed_backend.h"
#include "tests/model/stored_fixture.h"

namespace switchyard {
namespace {

using Tokens = std::vector<int32_t>;
using Steps = std::vector<std::vector<DriverRow>>;

struct Case {
  const char* model;
  // Of logits, in standard deviations of them, root mean square. The CPU backend with weights and
  // every stored activation rounded to bf16 has 0.017, 0.021, 0.025 and 0.013; an H200 has a tenth
  // more.
  double mean_error;
};
constexpr Case kCases[] = {{"lfm2_dense", 0.024},
                           {"lfm2_moe_odd", 0.030},
                           {"lfm2_moe_stacked", 0.034},
                           {"lfm2_moe_bf16", 0.019}};
// Of any one logit; rounding alone comes to 0.37.
constexpr float kLargestError = 0.5F;
// What bf16 may change in the difference of two selection scores, which are in (0, 1) but for the
// bias; rounding alone comes to 0.038.
constexpr float kNoise = 0.05F;
// Of all choices (of top_k experts for a token in a layer), those that the CPU makes too; and those
// whose margin is above kNoise, so that equality is no luck.
constexpr double kEqualChoices = 0.965;
constexpr double kClearChoices = 0.65;

struct Comparison {
  int64_t logits = 0, choices = 0, equal = 0, clear = 0;
  double squares = 0;
  float largest = 0;
  float loss = 0;

  void add(const std::vector<float>& got, const std::vector<float>& want, float deviation) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i]));
      const float error = std::abs(got[i] - want[i]) / deviation;
      largest = std::max(largest, error);
      squares += double{error} * error;
    }
    logits += static_cast<int64_t>(got.size());
  }
  void add(const RoutedBackend::Choice& choice) {
    ++choices;
    if (choice.loss == 0) ++equal;
    if (choice.margin > kNoise) ++clear;
    loss = std::max(loss, choice.loss);
  }
  void expect_close(double mean_error) const {
    const double mean = std::sqrt(squares / static_cast<double>(std::max<int64_t>(logits, 1)));
    std::printf(
        "  %lld logits, error %.4f at most, %.4f rms; %lld choices, %lld equal, %lld clear, "
        "loss %.4f at most\n",
        static_cast<long long>(logits), largest, mean, static_cast<long long>(choices),
        static_cast<long long>(equal), static_cast<long long>(clear), loss);
    EXPECT_GT(logits, 0);
    EXPECT_LE(largest, kLargestError);
    EXPECT_LE(mean, mean_error);
    EXPECT_LE(loss, kNoise);
    EXPECT_GE(equal, std::lround(kEqualChoices * static_cast<double>(choices)));
    EXPECT_GE(clear, std::lround(kClearChoices * static_cast<double>(choices)));
  }
};

class GpuModel : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    MadeBackend made = make_backend("cuda", {});
    if (made.backend == nullptr) GTEST_SKIP() << made.message;
    device_ = std::move(made.backend);
    cpu_ = make_backend("cpu", {.threads = 2}).backend;
    routed_.emplace(*cpu_);
    on_device_.emplace(GetParam().model, *device_);
    stored_.emplace(GetParam().model, *cpu_);
  }
  // As it is served: keys and values in bf16.
  ModelDriver device_driver() { return {on_device_->model(), *device_, {.kv_type = DType::kBf16}}; }
  [[nodiscard]] Tokens prompt(int length) const { return stored_->prompt(length); }

  // Computes the steps on the device and, with its choices, on the CPU.
  void run(const Steps& steps, Comparison& all) {
    ModelDriver driver = device_driver();
    ModelDriver reference(stored_->model(), *routed_);
    for (const std::vector<DriverRow>& rows : steps) {
      const ModelDriver::Logits got = driver.step(rows);
      std::vector<RoutedBackend::Choices> choices;
      for (const auto& [layer, experts] : driver.experts()) choices.push_back(experts);
      routed_->choose(std::move(choices));
      const ModelDriver::Logits want = reference.step(rows);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) all.add(got[i], want[i], stored_->logits_std());
      ASSERT_EQ(routed_->made().size(), driver.experts().size());
      for (const auto& layer : routed_->made()) {
        for (const RoutedBackend::Choice& choice : layer) all.add(choice);
      }
    }
  }

  // The tokens at the beginning of the last step before the first with a choice of its own.
  [[nodiscard]] size_t tokens_chosen_alike(size_t tokens) const {
    for (const auto& layer : routed_->made()) {
      for (size_t t = 0; t < std::min(tokens, layer.size()); ++t) {
        if (layer[t].loss > 0) tokens = t;
      }
    }
    return tokens;
  }

  std::unique_ptr<Backend> device_, cpu_;
  std::optional<RoutedBackend> routed_;
  std::optional<StoredFixture> on_device_, stored_;
};

TEST_P(GpuModel, ComputesPromptsOfEveryLength) {
  Comparison all;
  for (const int length : StoredFixture::kPromptLengths) {
    run({{{.sequence = 0, .tokens = prompt(length), .logits = length}}}, all);
  }
  all.expect_close(GetParam().mean_error);
}

TEST_P(GpuModel, GivesTheLogitsThatTransformersGave) {
  Comparison all;
  int64_t rows = 0;
  for (const int length : StoredFixture::kAllLogitsLengths) {
    Comparison unused;
    run({{{.sequence = 0, .tokens = prompt(length), .logits = length}}}, unused);
    const size_t alike = tokens_chosen_alike(static_cast<size_t>(length));
    ModelDriver driver = device_driver();
    const ModelDriver::Logits got =
        driver.step({{.sequence = 0, .tokens = prompt(length), .logits = length}});
    const ModelDriver::Logits want = stored_->all_logits(length);
    for (size_t t = 0; t < alike; ++t) all.add(got[t], want[t], stored_->logits_std());
    rows += static_cast<int64_t>(alike);
  }
  for (const int length : StoredFixture::kPromptLengths) {
    Comparison unused;
    run({{{.sequence = 0, .tokens = prompt(length)}}}, unused);
    if (tokens_chosen_alike(static_cast<size_t>(length)) < static_cast<size_t>(length)) continue;
    ModelDriver driver = device_driver();
    all.add(driver.step({{.sequence = 0, .tokens = prompt(length)}}).at(0),
            stored_->last_logits(length).at(0), stored_->logits_std());
    ++rows;
  }
  all.expect_close(GetParam().mean_error);
  EXPECT_GE(rows, 5);
}

TEST_P(GpuModel, ComputesAPromptInChunks) {
  for (const int chunk : {1, 5, 64}) {
    const Tokens whole = prompt(200);
    Steps steps;
    for (size_t begin = 0; begin < whole.size(); begin += static_cast<size_t>(chunk)) {
      const size_t end = std::min(begin + static_cast<size_t>(chunk), whole.size());
      steps.push_back({{.sequence = 0,
                        .tokens = {whole.begin() + static_cast<int64_t>(begin),
                                   whole.begin() + static_cast<int64_t>(end)},
                        .logits = static_cast<int>(end - begin)}});
    }
    Comparison all;
    run(steps, all);
    all.expect_close(GetParam().mean_error);
  }
}

// All prompts in one step, then decoding together; and a prompt, a chunk in the middle of one and
// two decoding rows in one step.
TEST_P(GpuModel, ComputesRowsInABatch) {
  std::vector<DriverRow> rows;
  for (const int length : StoredFixture::kPromptLengths) {
    rows.push_back({.sequence = static_cast<int>(rows.size()), .tokens = prompt(length)});
  }
  Steps steps = {rows};
  for (int32_t step = 0; step < 40; ++step) {
    for (DriverRow& row : rows) row.tokens = {(7 * step + 31 * row.sequence) % 256};
    steps.push_back(rows);
  }
  Comparison all;
  run(steps, all);
  all.expect_close(GetParam().mean_error);

  const Tokens whole = prompt(200);
  Comparison mixed;
  run({{{.sequence = 1, .tokens = {whole.begin(), whole.begin() + 70}}},
       {{.sequence = 2, .tokens = prompt(3)}, {.sequence = 3, .tokens = prompt(64)}},
       {{.sequence = 2, .tokens = {7}},
        {.sequence = 0, .tokens = prompt(63), .logits = 63},
        {.sequence = 1, .tokens = {whole.begin() + 70, whole.end()}, .logits = 130},
        {.sequence = 3, .tokens = {9}}}},
      mixed);
  mixed.expect_close(GetParam().mean_error);
}

TEST_P(GpuModel, GivesTheSameBitsTwice) {
  for (const int length : {1, 65, 1000}) {
    ModelDriver one = device_driver(), two = device_driver();
    const std::vector<DriverRow> rows = {
        {.sequence = 0, .tokens = prompt(length), .logits = length}};
    EXPECT_EQ(one.step(rows), two.step(rows)) << "prompt of " << length;
  }
}

TEST_P(GpuModel, ReplaysAGraphToTheBitsOfEagerSteps) {
  for (const std::vector<int>& lengths : {std::vector{65}, {1, 63, 65}, {1, 2, 3, 63, 64, 65}}) {
    ModelDriver eager = device_driver(), replayed = device_driver();
    std::vector<DriverRow> rows;
    for (const int length : lengths) {
      const DriverRow row{.sequence = static_cast<int>(rows.size()), .tokens = prompt(length)};
      eager.step({row});
      replayed.step({row});
      rows.push_back({.sequence = row.sequence, .tokens = {5 + length}});
    }
    const std::unique_ptr<Graph> graph = replayed.capture(rows);
    for (int step = 0; step < 20; ++step) {
      const ModelDriver::Logits want = eager.step(rows);
      ASSERT_EQ(replayed.replay(*graph, rows), want) << "step " << step;
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto best = std::max_element(want[i].begin(), want[i].end());
        rows[i].tokens = {static_cast<int32_t>(best - want[i].begin())};
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuModel, testing::ValuesIn(kCases), [](const auto& named) {
  return std::string(named.param.model);
});

}  // namespace
}  // namespace switchyard
