// sample against a full sort in float64: what may be chosen, how often, and what is reported.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/philox.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::Doubles;
using reference::Owned;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sampled {
  std::vector<int32_t> token;
  std::vector<double> logprob;
  std::vector<int32_t> top_token;
  std::vector<double> top_logprob;
};

constexpr int kTops = 5;

Sampled sample(const Owned& logits,
               const std::vector<SampleRow>& rows,
               const std::vector<LogitEdit>& edits = {},
               int threads = 1) {
  const int64_t count = logits.view().dim(0);
  Owned used_up(logits);
  const Owned token = Owned::poisoned(DType::kI32, {count});
  const Owned logprob = Owned::poisoned(DType::kF32, {count});
  const Owned top_token = Owned::poisoned(DType::kI32, {count, kTops});
  const Owned top_logprob = Owned::poisoned(DType::kF32, {count, kTops});
  CpuBackend backend(threads);
  backend.sample({.logits = used_up.view(),
                  .rows = rows.data(),
                  .edits = edits.data(),
                  .num_edits = static_cast<int>(edits.size()),
                  .token = token.view(),
                  .logprob = logprob.view(),
                  .top_token = top_token.view(),
                  .top_logprob = top_logprob.view()});
  const Doubles tokens = token.values(), tops = top_token.values();
  return {{tokens.begin(), tokens.end()},
          logprob.values(),
          {tops.begin(), tops.end()},
          top_logprob.values()};
}

Owned logits_of(const std::vector<float>& values) {
  Owned logits(DType::kF32, {1, static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), logits.view().f32());
  return logits;
}

// The probability of each token that may be chosen, by the definition: sort, cut, renormalise.
std::map<int32_t, double> distribution(const Doubles& logits, const SampleRow& row) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  const auto mass = [&](int32_t id) {
    return std::exp((logits[id] - logits[order[0]]) / row.temperature);
  };
  const auto total = [&] {
    double sum = 0;
    for (const int32_t id : order) sum += mass(id);
    return sum;
  };
  if (row.top_k > 0 && row.top_k < static_cast<int32_t>(order.size())) order.resize(row.top_k);
  if (row.top_p < 1) {
    const double wanted = static_cast<double>(row.top_p) * total();
    double sum = 0;
    size_t kept = 0;
    while (kept < order.size() && sum < wanted) sum += mass(order[kept++]);
    order.resize(std::max<size_t>(kept, 1));
  }
  std::erase_if(order, [&](int32_t id) { return mass(id) < static_cast<double>(row.min_p); });
  std::map<int32_t, double> result;
  const double all = total();
  for (const int32_t id : order) result[id] = mass(id) / all;
  return result;
}

struct Case {
  const char* name;
  SampleRow row;
  int vocabulary;
};

class SampleDistribution : public testing::TestWithParam<Case> {};

TEST_P(SampleDistribution, MatchesTheDefinition) {
  const auto& [name, rule, vocabulary] = GetParam();
  constexpr int kDraws = 4000;
  const Owned base = Owned::random(DType::kF32, {1, vocabulary}, 77, 2);
  Owned logits(DType::kF32, {kDraws, vocabulary});
  std::vector<SampleRow> rows(kDraws, rule);
  for (int i = 0; i < kDraws; ++i) {
    std::memcpy(logits.view().f32() + i * vocabulary, base.view().data, base.view().bytes());
    rows[i].seed_low = static_cast<uint32_t>(i);
    rows[i].position = i % 7;
  }
  const std::map<int32_t, double> want = distribution(base.values(), rule);
  std::map<int32_t, int> seen;
  for (const int32_t token : sample(logits, rows).token) {
    ASSERT_TRUE(want.contains(token)) << token << " may not be chosen";
    ++seen[token];
  }
  // Chi-square with tokens expected less than 5 times put together.
  double statistic = 0, rare_want = 0, rare_seen = 0;
  int cells = 0;
  const auto add = [&](double expected, double observed) {
    statistic += (observed - expected) * (observed - expected) / expected;
    ++cells;
  };
  for (const auto& [token, probability] : want) {
    const double expected = probability * kDraws;
    if (expected >= 5) {
      add(expected, seen[token]);
    } else {
      rare_want += expected;
      rare_seen += seen[token];
    }
  }
  if (rare_want >= 5) add(rare_want, rare_seen);
  const double freedom = std::max(1, cells - 1);
  EXPECT_LT(statistic, freedom + 4 * std::sqrt(2 * freedom) + 4);
}

INSTANTIATE_TEST_SUITE_P(
    Rules,
    SampleDistribution,
    testing::Values(
        Case{"Plain", {}, 50},
        Case{"PlainOverManyChunks", {.temperature = 0.4f}, 3001},
        Case{"Hot", {.temperature = 3}, 40},
        Case{"TopK", {.top_k = 7}, 500},
        Case{"TopKOfFewBlocks", {.top_k = 200}, 300},
        Case{"TopP", {.top_p = 0.8f}, 500},
        Case{"TopPOfAFlatRow", {.temperature = 20, .top_p = 0.97f}, 300},
        Case{"MinP", {.min_p = 0.05f}, 500},
        Case{"TopKThenTopP", {.top_k = 20, .top_p = 0.6f}, 500},
        Case{"All", {.temperature = 1.5f, .top_k = 40, .top_p = 0.9f, .min_p = 0.02f}, 700}),
    [](const testing::TestParamInfo<Case>& chosen) { return chosen.param.name; });

TEST(Sample, MayChooseExactlyTheNucleus) {
  // Masses 8, 4, 4, 2, 1 (over 19) at ids 4, 1, 3, 0, 2; the tie goes to id 1.
  const Owned logits = logits_of({std::log(2.f), std::log(4.f), 0.f, std::log(4.f), std::log(8.f)});
  const auto reachable = [&](SampleRow row) {
    std::set<int32_t> tokens;
    for (uint32_t seed = 0; seed < 300; ++seed) {
      row.seed_low = seed;
      tokens.insert(sample(logits, {row}).token[0]);
    }
    return tokens;
  };
  using Tokens = std::set<int32_t>;
  EXPECT_EQ(reachable({.top_p = 0.0f}), Tokens({4}));
  EXPECT_EQ(reachable({.top_p = 0.4f}), Tokens({4}));
  EXPECT_EQ(reachable({.top_p = 0.5f}), Tokens({4, 1}));
  EXPECT_EQ(reachable({.top_p = 0.7f}), Tokens({4, 1, 3}));
  EXPECT_EQ(reachable({.top_p = 0.9f}), Tokens({4, 1, 3, 0}));
  EXPECT_EQ(reachable({.top_k = 2}), Tokens({4, 1}));
  EXPECT_EQ(reachable({.top_k = 1}), Tokens({4}));
  EXPECT_EQ(reachable({.top_k = 5}), Tokens({0, 1, 2, 3, 4}));
  EXPECT_EQ(reachable({.min_p = 0.3f}), Tokens({4, 1, 3}));
  EXPECT_EQ(reachable({.min_p = 0.2f}), Tokens({4, 1, 3, 0}));
  EXPECT_EQ(reachable({.min_p = 1.0f}), Tokens({4}));
  // Of the two that top_k leaves, the larger has two thirds.
  EXPECT_EQ(reachable({.top_k = 2, .top_p = 0.6f}), Tokens({4}));
}

TEST(Sample, TakesTheLargestAndTheLowerIdAtTemperatureZero) {
  std::vector<float> values(1000, -1.0f);
  values[700] = values[300] = values[999] = 3;
  EXPECT_EQ(sample(logits_of(values), {{.temperature = 0}}).token[0], 300);
}

TEST(Sample, DependsOnSeedAndPositionOnlyAndNotOnNeighbours) {
  constexpr int kRows = 9;
  const Owned logits = Owned::random(DType::kF32, {kRows, 2000}, 3);
  std::vector<SampleRow> rows(kRows);
  for (int i = 0; i < kRows; ++i) {
    rows[i] = {.top_p = i % 2 ? 0.9f : 1.0f,
               .seed_low = 5,
               .seed_high = 6,
               .position = i,
               .top_logprobs = 3,
               .want_logprob = 1};
  }
  const Sampled together = sample(logits, rows);
  for (const int threads : {1, 2, 3}) {
    const Sampled again = sample(logits, rows, {}, threads);
    EXPECT_EQ(again.token, together.token);
    EXPECT_EQ(again.logprob, together.logprob);
  }
  for (int i = 0; i < kRows; ++i) {
    Owned alone(DType::kF32, {1, 2000});
    std::memcpy(alone.view().data, logits.view().f32() + i * 2000, alone.view().bytes());
    EXPECT_EQ(sample(alone, {rows[i]}).token[0], together.token[i]);
    EXPECT_EQ(sample(alone, {rows[i]}).logprob[0], together.logprob[i]);
  }
  std::set<int32_t> by_seed, by_high_seed, by_position;
  for (uint32_t i = 0; i < 20; ++i) {
    Owned row(DType::kF32, {1, 2000});
    std::memcpy(row.view().data, logits.view().data, row.view().bytes());
    by_seed.insert(sample(row, {{.seed_low = i}}).token[0]);
    by_high_seed.insert(sample(row, {{.seed_high = i}}).token[0]);
    by_position.insert(sample(row, {{.position = static_cast<int32_t>(i)}}).token[0]);
  }
  EXPECT_GT(by_seed.size(), 10u);
  EXPECT_GT(by_high_seed.size(), 10u);
  EXPECT_GT(by_position.size(), 10u);
}

TEST(Sample, AppliesEditsInTheirOrder) {
  SampleRow row{.temperature = 0,
                .repetition_penalty = 2,
                .presence_penalty = 0.5f,
                .frequency_penalty = 0.25f,
                .edit_begin = 1,
                .edit_end = 2};
  // Token 0 becomes `after`; token 1 shows on which side of it that is.
  const auto expect_edited = [&](float logit, const LogitEdit& edit, float after) {
    const std::vector<LogitEdit> edits = {{.token = 1, .bias = 100},
                                          edit};  // the first is not ours
    EXPECT_EQ(sample(logits_of({logit, after - 0.01f}), {row}, edits).token[0], 0);
    EXPECT_EQ(sample(logits_of({logit, after + 0.01f}), {row}, edits).token[0], 1);
  };
  expect_edited(3, {.token = 0, .seen = 1}, 1.5f);
  expect_edited(-3, {.token = 0, .seen = 1}, -6);
  expect_edited(3, {.token = 0, .seen = 0, .bias = -1}, 2);
  expect_edited(3, {.token = 0, .seen = 1, .output_count = 4}, 1.5f - 1 - 0.5f);
  expect_edited(3, {.token = 0, .seen = 1, .output_count = 1, .bias = 7}, 1.5f - 0.75f + 7);
  expect_edited(0, {.token = 0, .seen = 1}, 0);
}

TEST(Sample, NeverChoosesAForbiddenToken) {
  const std::vector<LogitEdit> edits = {{.token = 1, .bias = -kInfinity}};
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const SampleRow row{.seed_low = seed, .edit_end = 1};
    EXPECT_NE(sample(logits_of({0, 50, 0}), {row}, edits).token[0], 1);
    EXPECT_EQ(sample(logits_of({-kInfinity, 50, 0}), {row}, edits).token[0], 2);
    SampleRow limited = row;
    limited.top_k = 3;
    limited.top_p = 0.9999f;
    EXPECT_EQ(sample(logits_of({-kInfinity, 50, 0, -kInfinity}), {limited}, edits).token[0], 2);
  }
  EXPECT_EQ(sample(logits_of({-kInfinity, 50}), {{.edit_end = 1}}, edits).token[0], -1);
}

TEST(Sample, FailsOnlyTheBrokenRow) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const float temperature : {0.0f, 1.0f}) {
      Owned logits = Owned::random(DType::kF32, {3, 500}, 3);
      for (int i = 0; i < 500; ++i) {
        if (i == 499 || bad == -kInfinity) logits.set(500 + i, bad);
      }
      const SampleRow row{.temperature = temperature, .top_logprobs = 2, .want_logprob = 1};
      const Sampled sampled = sample(logits, {row, row, row});
      EXPECT_GE(sampled.token[0], 0);
      EXPECT_EQ(sampled.token[1], -1);
      EXPECT_GE(sampled.token[2], 0);
      EXPECT_EQ(sampled.logprob[1], 0);
      EXPECT_EQ(sampled.top_token[kTops], -1);
    }
  }
}

TEST(Sample, ReportsTheModelsOwnLogProbabilities) {
  constexpr int kVocabulary = 5000;
  const Owned logits = Owned::random(DType::kF32, {1, kVocabulary}, 8, 3);
  const Doubles values = logits.values();
  double total = 0;
  for (const double value : values) total += std::exp(value);
  std::vector<int32_t> order(kVocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  // The favourite is edited away; its probability is reported as the model gave it.
  const std::vector<LogitEdit> edits = {{.token = order[0], .bias = -kInfinity},
                                        {.token = order[1], .bias = 1}};
  const SampleRow row{.temperature = 0, .edit_end = 2, .top_logprobs = 3, .want_logprob = 1};
  const Sampled sampled = sample(logits, {row}, edits);
  EXPECT_EQ(sampled.token[0], order[1]);
  EXPECT_NEAR(sampled.logprob[0], values[order[1]] - std::log(total), 2e-6);
  for (int i = 0; i < kTops; ++i) {
    EXPECT_EQ(sampled.top_token[i], i < 3 ? order[i] : -1);
    EXPECT_NEAR(sampled.top_logprob[i], i < 3 ? values[order[i]] - std::log(total) : 0, 2e-6);
  }
}

TEST(Philox, GivesTheKnownAnswersOfItsAuthors) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(cpu::philox({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(cpu::philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(cpu::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace switchyard
