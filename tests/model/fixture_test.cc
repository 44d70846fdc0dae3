// The model against float32 reference values of tiny checkpoints (tests/oracle), and against
// itself: however a sequence is cut into steps and whoever is in the batch, the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "kernels/make_backend.h"
#include "tests/model/model_driver.h"
#include "tests/model/stored_fixture.h"

namespace switchyard {
namespace {

using Tokens = std::vector<int32_t>;

constexpr auto& kPromptLengths = StoredFixture::kPromptLengths;
constexpr float kTolerance = 1e-4F;  // of the logits' standard deviation

int32_t best_of(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

class Fixture : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    backend_ = make_backend("cpu", {.threads = 2}).backend;
    ASSERT_NE(backend_, nullptr);
    stored_.emplace(GetParam(), *backend_);
  }
  [[nodiscard]] const Model& model() const { return stored_->model(); }
  [[nodiscard]] Tokens prompt(int length) const { return stored_->prompt(length); }

  // `got` is close to the rows of the reference.
  void expect_close(const ModelDriver::Logits& got, const ModelDriver::Logits& want) const {
    ASSERT_EQ(got.size(), want.size());
    const float limit = kTolerance * stored_->logits_std();
    for (size_t row = 0; row < got.size(); ++row) {
      ASSERT_EQ(got[row].size(), want[row].size());
      for (size_t i = 0; i < got[row].size(); ++i) {
        ASSERT_NEAR(got[row][i], want[row][i], limit)
            << "row " << row << " of " << got.size() << ", token " << i;
      }
    }
  }

  std::unique_ptr<Backend> backend_;
  std::optional<StoredFixture> stored_;
};

TEST_P(Fixture, LogitsAreThoseOfTheReferenceAfterPromptsOfEveryLength) {
  ModelDriver driver(model(), *backend_);
  for (const int length : kPromptLengths) {
    driver.restart(0);
    expect_close(driver.step({{.sequence = 0, .tokens = prompt(length)}}),
                 stored_->last_logits(length));
  }
  for (const int length : StoredFixture::kAllLogitsLengths) {
    driver.restart(0);
    expect_close(driver.step({{.sequence = 0, .tokens = prompt(length), .logits = length}}),
                 stored_->all_logits(length));
  }
}

TEST_P(Fixture, ExpertsAreThoseOfTheReference) {
  if (!stored_->has_experts()) GTEST_SKIP() << "a dense model";
  ModelDriver driver(model(), *backend_);
  for (const int length : kPromptLengths) {
    driver.restart(0);
    driver.step({{.sequence = 0, .tokens = prompt(length)}});
    const nlohmann::json& facts = stored_->facts_of_prompt(length);
    const int first = facts.at("expert_rows_from_token");
    ASSERT_EQ(driver.experts().size(), facts.at("experts").size());
    for (const auto& [layer, want] : facts.at("experts").items()) {
      const ModelDriver::Experts& all = driver.experts().at(std::stoi(layer));
      EXPECT_EQ(ModelDriver::Experts(all.begin() + first, all.end()),
                want.get<ModelDriver::Experts>())
          << "layer " << layer << " of the prompt of " << length;
    }
  }
}

// All eight prompts in one batch, which the reference computed one by one.
TEST_P(Fixture, GreedyAnswersAreThoseOfTheReference) {
  ModelDriver driver(model(), *backend_);
  std::vector<DriverRow> rows;
  for (const int length : kPromptLengths) {
    rows.push_back({.sequence = static_cast<int>(rows.size()), .tokens = prompt(length)});
  }
  std::vector<Tokens> answers(rows.size());
  for (size_t drawn = 0; drawn < 64; ++drawn) {
    const ModelDriver::Logits logits = driver.step(rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      answers[i].push_back(best_of(logits[i]));
      rows[i].tokens = {answers[i].back()};
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(answers[i], stored_->facts_of_prompt(kPromptLengths[i]).at("greedy").get<Tokens>())
        << "after the prompt of " << kPromptLengths[i];
  }
}

TEST_P(Fixture, APromptInChunksGivesTheBitsOfTheWholePrompt) {
  ModelDriver driver(model(), *backend_);
  const Tokens whole = prompt(200);
  const int length = static_cast<int>(whole.size());
  const ModelDriver::Logits want =
      driver.step({{.sequence = 0, .tokens = whole, .logits = length}});
  for (const int chunk : {1, 5, 64}) {
    driver.restart(0);
    ModelDriver::Logits got;
    for (int begin = 0; begin < length; begin += chunk) {
      const int end = std::min(begin + chunk, length);
      for (auto& row : driver.step({{.sequence = 0,
                       .tokens = {whole.begin() + begin, whole.begin() + end},
                       .logits = end - begin}})) {
        got.push_back(std::move(row));
      }
    }
    EXPECT_EQ(got, want) << "chunks of " << chunk;
  }
}

TEST_P(Fixture, AChunkWhoseLogitsNobodyWantsStillFillsTheCaches) {
  ModelDriver driver(model(), *backend_);
  const Tokens whole = prompt(65);
  const ModelDriver::Logits want = driver.step({{.sequence = 0, .tokens = whole}});
  driver.restart(0);
  EXPECT_TRUE(
      driver.step({{.sequence = 0, .tokens = {whole.begin(), whole.begin() + 40}, .logits = 0}})
          .empty());
  EXPECT_EQ(driver.step({{.sequence = 0, .tokens = {whole.begin() + 40, whole.end()}}}), want);
}

// A prompt, a chunk in the middle of a prompt, and two decoding rows share a step.
TEST_P(Fixture, RowsInABatchGetTheBitsTheyGetAlone) {
  ModelDriver alone(model(), *backend_);
  ModelDriver together(model(), *backend_);
  const Tokens long_prompt = prompt(200);
  for (ModelDriver* driver : {&alone, &together}) {
    driver->step({{.sequence = 1, .tokens = {long_prompt.begin(), long_prompt.begin() + 70}}});
    driver->step({{.sequence = 2, .tokens = prompt(3)}});
    driver->step({{.sequence = 3, .tokens = prompt(64)}});
  }
  const std::vector<DriverRow> rows = {
      {.sequence = 2, .tokens = {7}},
      {.sequence = 0, .tokens = prompt(63)},
      {.sequence = 1, .tokens = {long_prompt.begin() + 70, long_prompt.end()}},
      {.sequence = 3, .tokens = {9}}};
  const ModelDriver::Logits got = together.step(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(got[i], alone.step({rows[i]}).front()) << "row " << i;
  }
}

TEST_P(Fixture, AReplayedGraphGivesTheBitsOfEagerSteps) {
  ModelDriver eager(model(), *backend_);
  ModelDriver replayed(model(), *backend_);
  std::vector<DriverRow> rows;
  for (const int length : {1, 63, 65}) {
    const DriverRow row{.sequence = static_cast<int>(rows.size()), .tokens = prompt(length)};
    eager.step({row});
    replayed.step({row});
    rows.push_back({.sequence = row.sequence, .tokens = {static_cast<int32_t>(5 + length)}});
  }
  const std::unique_ptr<Graph> graph = replayed.capture(rows);
  for (int step = 0; step < 5; ++step) {
    const ModelDriver::Logits want = eager.step(rows);
    ASSERT_EQ(replayed.replay(*graph, rows), want) << "step " << step;
    for (size_t i = 0; i < rows.size(); ++i) rows[i].tokens = {best_of(want[i])};
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models,
    Fixture,
    ::testing::Values("lfm2_dense", "lfm2_moe_odd", "lfm2_moe_stacked", "lfm2_moe_bf16"),
    [](const auto& named) { return std::string(named.param); });

}  // namespace
}  // namespace switchyard
