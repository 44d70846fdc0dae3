// sample on the GPU against the CPU backend, whose own tests hold it to the definition: the same
// tokens from the same seeds (sums differ in their last bits, so a draw on a border may not), the
// same log-probabilities. And what must hold exactly: ties, edits, broken rows, the same bits
// twice and in any company.
#include <set>

#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kTops = 20;

struct Sampled {
  Owned token, logprob, top_token, top_logprob;

  [[nodiscard]] int at(int64_t row) const { return static_cast<int>(token.at(row)); }
  [[nodiscard]] bool same_bits(const Sampled& other) const {
    return token.same_bits(other.token) && logprob.same_bits(other.logprob) &&
           top_token.same_bits(other.top_token) && top_logprob.same_bits(other.top_logprob);
  }
};

using Edits = std::vector<LogitEdit>;

Sampled sample_on(Backend& backend,
                  const Owned& logits,
                  const std::vector<SampleRow>& rows,
                  const Edits& edits) {
  const int64_t count = logits.view().dim(0);
  std::vector<Buffer> buffers;
  const auto put = [&](const void* host, int64_t bytes) {
    buffers.push_back(backend.allocate(std::max<int64_t>(bytes, 1)));
    backend.upload(buffers.back().data(), host, bytes);
    return buffers.back().data();
  };
  Sampled sampled = {Owned::poisoned(DType::kI32, {count}), Owned::poisoned(DType::kF32, {count}),
                     Owned::poisoned(DType::kI32, {count, kTops}),
                     Owned::poisoned(DType::kF32, {count, kTops})};
  const auto put_tensor = [&](const Owned& host) {
    Tensor device = host.view();
    device.data = put(device.data, device.bytes());
    return device;
  };
  const SampleArgs args = {
      .logits = put_tensor(logits),
      .rows = static_cast<const SampleRow*>(
          put(rows.data(), static_cast<int64_t>(rows.size() * sizeof(SampleRow)))),
      .edits = static_cast<const LogitEdit*>(
          put(edits.data(), static_cast<int64_t>(edits.size() * sizeof(LogitEdit)))),
      .num_edits = static_cast<int>(edits.size()),
      .token = put_tensor(sampled.token),
      .logprob = put_tensor(sampled.logprob),
      .top_token = put_tensor(sampled.top_token),
      .top_logprob = put_tensor(sampled.top_logprob)};
  backend.sample(args);
  const auto get = [&](const Tensor& device, const Owned& host) {
    backend.download(host.view().data, device.data, device.bytes());
  };
  get(args.token, sampled.token);
  get(args.logprob, sampled.logprob);
  get(args.top_token, sampled.top_token);
  get(args.top_logprob, sampled.top_logprob);
  return sampled;
}

Owned logits_of(const std::vector<float>& values) {
  Owned logits(DType::kF32, {1, static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), logits.view().f32());
  return logits;
}

// The same row many times.
Owned repeated(const Owned& row, int64_t rows) {
  const int64_t width = row.view().elements();
  Owned all(DType::kF32, {rows, width});
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(all.view().f32() + i * width, row.view().data, row.view().bytes());
  }
  return all;
}

class Sample : public Device {
 protected:
  void SetUp() override {
    Device::SetUp();
    cpu_ = make_backend("cpu", {}).backend;
  }
  Sampled sample(const Owned& logits, const std::vector<SampleRow>& rows, const Edits& edits = {}) {
    return sample_on(backend(), logits, rows, edits);
  }
  // Runs both, expects what both say of probabilities to agree, returns how many tokens differ.
  int differing(const Owned& logits, const std::vector<SampleRow>& rows, const Edits& edits = {}) {
    const Sampled got = sample(logits, rows, edits);
    const Sampled want = sample_on(*cpu_, logits, rows, edits);
    int different = 0;
    for (int64_t i = 0; i < logits.view().dim(0); ++i) {
      if (got.at(i) != want.at(i)) {
        ++different;
        continue;
      }
      EXPECT_NEAR(got.logprob.at(i), want.logprob.at(i), 1e-4);
    }
    EXPECT_TRUE(got.top_token.same_bits(want.top_token));
    for (int64_t i = 0; i < got.top_logprob.view().elements(); ++i) {
      EXPECT_NEAR(got.top_logprob.at(i), want.top_logprob.at(i), 1e-4);
    }
    return different;
  }
  std::unique_ptr<Backend> cpu_;
};

const std::vector<SampleRow> kRules = {
    {},
    {.temperature = 0.4F},
    {.temperature = 3},
    {.top_k = 1},
    {.top_k = 50},
    {.temperature = 0.1F, .top_k = 200},
    {.top_k = 5000},
    {.top_p = 0.8F},
    {.top_p = 0},
    {.temperature = 20, .top_p = 0.97F},
    {.min_p = 0.05F},
    {.top_k = 20, .top_p = 0.6F},
    {.top_p = 0.95F, .min_p = 0.1F},
    {.temperature = 1.5F, .top_k = 40, .top_p = 0.9F, .min_p = 0.02F},
};

TEST_F(Sample, DrawsWhatTheCpuDraws) {
  for (const auto& [vocabulary, draws] :
       {std::pair{50, 1000}, {331, 1000}, {5000, 1000}, {128000, 48}}) {
    const Owned logits = repeated(Owned::random(DType::kF32, {1, vocabulary}, 77, 2.5), draws);
    for (size_t rule = 0; rule < kRules.size(); ++rule) {
      SCOPED_TRACE("rule " + std::to_string(rule) + ", " + std::to_string(vocabulary) + " tokens");
      std::vector<SampleRow> rows(draws, kRules[rule]);
      for (int i = 0; i < draws; ++i) {
        rows[i].seed_low = static_cast<uint32_t>(i);
        rows[i].seed_high = static_cast<uint32_t>(i % 3);
        rows[i].position = i % 7;
        rows[i].want_logprob = i % 2;
      }
      EXPECT_LE(differing(logits, rows), draws / 100);
    }
  }
}

TEST_F(Sample, TakesTheLargestAndTheLowerId) {
  for (const int vocabulary : {1000, 1001, 128000}) {
    std::vector<float> values(vocabulary, -1.0F);
    values[700] = values[300] = values[999] = values.back() = 3;
    EXPECT_EQ(sample(logits_of(values), {{.temperature = 0}}).at(0), 300);
    const Owned random = Owned::random(DType::kF32, {7, vocabulary}, 5, 3);
    EXPECT_EQ(differing(random, std::vector<SampleRow>(7, {.temperature = 0, .want_logprob = 1})),
              0);
  }
}

// More equal logits than are ever listed: ties are cut and drawn in the order of ids.
TEST_F(Sample, CutsAndDrawsAmongManyEquals) {
  for (const SampleRow& rule :
       std::vector<SampleRow>{{.top_k = 6000}, {.top_p = 0.5F}, {.top_k = 9000, .top_p = 0.3F}}) {
    Owned row(DType::kF32, {1, 20000});
    for (int i = 0; i < 20000; ++i) row.set(i, i % 2 == 0 ? 1.0F : -3.0F);
    std::vector<SampleRow> rows(100, rule);
    for (uint32_t i = 0; i < 100; ++i) rows[i].seed_low = i;
    EXPECT_EQ(differing(repeated(row, 100), rows), 0);
  }
}

TEST_F(Sample, MayChooseExactlyTheNucleus) {
  // Masses 8, 4, 4, 2, 1 (over 19) at ids 4, 1, 3, 0, 2; the tie goes to id 1.
  const Owned row = logits_of({std::log(2.F), std::log(4.F), 0.F, std::log(4.F), std::log(8.F)});
  const Owned logits = repeated(row, 300);
  using Tokens = std::set<int>;
  const auto reachable = [&](const SampleRow& rule) {
    std::vector<SampleRow> rows(300, rule);
    for (uint32_t seed = 0; seed < 300; ++seed) rows[seed].seed_low = seed;
    const Sampled sampled = sample(logits, rows);
    Tokens tokens;
    for (int i = 0; i < 300; ++i) tokens.insert(sampled.at(i));
    return tokens;
  };
  EXPECT_EQ(reachable({.top_p = 0.0F}), Tokens({4}));
  EXPECT_EQ(reachable({.top_p = 0.4F}), Tokens({4}));
  EXPECT_EQ(reachable({.top_p = 0.5F}), Tokens({4, 1}));
  EXPECT_EQ(reachable({.top_p = 0.7F}), Tokens({4, 1, 3}));
  EXPECT_EQ(reachable({.top_p = 0.9F}), Tokens({4, 1, 3, 0}));
  EXPECT_EQ(reachable({.top_k = 2}), Tokens({4, 1}));
  EXPECT_EQ(reachable({.top_k = 1}), Tokens({4}));
  EXPECT_EQ(reachable({.top_k = 5}), Tokens({0, 1, 2, 3, 4}));
  EXPECT_EQ(reachable({.min_p = 0.3F}), Tokens({4, 1, 3}));
  EXPECT_EQ(reachable({.min_p = 0.2F}), Tokens({4, 1, 3, 0}));
  EXPECT_EQ(reachable({.min_p = 1.0F}), Tokens({4}));
  EXPECT_EQ(reachable({.top_k = 2, .top_p = 0.6F}), Tokens({4}));
}

// Rows of every kind, alone and together, with edits of their own.
TEST_F(Sample, GivesARowTheSameBitsTwiceAndInAnyCompany) {
  for (const int vocabulary : {2000, 2001, 40000}) {
    const auto count = static_cast<int>(kRules.size()) + 2;
    if (too_large(int64_t{50} * count * vocabulary)) continue;  // a logit is looked at that often
    const Owned logits = Owned::random(DType::kF32, {count, vocabulary}, 3, 3);
    std::vector<SampleRow> rows = kRules;
    rows.push_back({.temperature = 0});
    rows.push_back({.temperature = 0, .want_logprob = 1});
    Edits edits(5);  // nobody's
    for (int i = 0; i < count; ++i) {
      rows[i].seed_low = 7 + static_cast<uint32_t>(i);
      rows[i].top_logprobs = i % 4 * 6;
      rows[i].want_logprob = 1;
      rows[i].frequency_penalty = 0.5F;
      rows[i].edit_begin = static_cast<int>(edits.size());
      for (int e = 0; e < i % 3 * 300; ++e) {
        edits.push_back({.token = e * 3 + i, .seen = 1, .output_count = e % 2, .bias = 0.1F});
      }
      rows[i].edit_end = static_cast<int>(edits.size());
    }
    EXPECT_LE(differing(logits, rows, edits), 1);
    const Sampled together = sample(logits, rows, edits);
    EXPECT_TRUE(sample(logits, rows, edits).same_bits(together));
    for (int i = 0; i < count; ++i) {
      Owned alone(DType::kF32, {1, vocabulary});
      std::memcpy(alone.view().data, logits.view().f32() + int64_t{i} * vocabulary,
                  alone.view().bytes());
      const Sampled sampled = sample(alone, {rows[i]}, edits);
      EXPECT_EQ(sampled.at(0), together.at(i));
      EXPECT_NEAR(sampled.logprob.at(0), together.logprob.at(i), 1e-5);
    }
  }
}

TEST_F(Sample, AppliesEditsInTheirOrder) {
  const SampleRow row{.temperature = 0,
                      .repetition_penalty = 2,
                      .presence_penalty = 0.5F,
                      .frequency_penalty = 0.25F,
                      .edit_begin = 1,
                      .edit_end = 2};
  // Token 0 becomes `after`; token 1 shows on which side of it that is.
  const auto expect_edited = [&](float logit, const LogitEdit& edit, float after) {
    const Edits edits = {{.token = 1, .bias = 100}, edit};  // the first is not ours
    EXPECT_EQ(sample(logits_of({logit, after - 0.01F}), {row}, edits).at(0), 0);
    EXPECT_EQ(sample(logits_of({logit, after + 0.01F}), {row}, edits).at(0), 1);
  };
  expect_edited(3, {.token = 0, .seen = 1}, 1.5F);
  expect_edited(-3, {.token = 0, .seen = 1}, -6);
  expect_edited(3, {.token = 0, .seen = 0, .bias = -1}, 2);
  expect_edited(3, {.token = 0, .seen = 1, .output_count = 4}, 1.5F - 1 - 0.5F);
  expect_edited(3, {.token = 0, .seen = 1, .output_count = 1, .bias = 7}, 1.5F - 0.75F + 7);
  expect_edited(0, {.token = 0, .seen = 1}, 0);
}

TEST_F(Sample, NeverChoosesAForbiddenToken) {
  const Edits edits = {{.token = 1, .bias = -kInfinity}};
  const std::vector<SampleRow> rules = {{.edit_end = 1},
                                        {.top_k = 3, .edit_end = 1},
                                        {.top_k = 3, .top_p = 0.9999F, .edit_end = 1},
                                        {.min_p = 0.01F, .edit_end = 1},
                                        {.temperature = 0, .edit_end = 1}};
  for (const SampleRow& rule : rules) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      SampleRow row = rule;
      row.seed_low = seed;
      EXPECT_NE(sample(logits_of({0, 50, 0}), {row}, edits).at(0), 1);
      EXPECT_EQ(sample(logits_of({-kInfinity, 50, 0, -kInfinity}), {row}, edits).at(0), 2);
    }
    EXPECT_EQ(sample(logits_of({-kInfinity, 50}), {rule}, edits).at(0), -1);
  }
}

TEST_F(Sample, FailsOnlyTheBrokenRow) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const SampleRow& rule : std::vector<SampleRow>{{.temperature = 0}, {}, {.top_k = 9}}) {
      for (const int place : {0, 250, 499}) {
        Owned logits = Owned::random(DType::kF32, {3, 500}, 3);
        for (int i = 0; i < 500; ++i) {
          if (i == place || bad == -kInfinity) logits.set(500 + i, bad);
        }
        SampleRow row = rule;
        row.top_logprobs = 2;
        row.want_logprob = 1;
        const Sampled sampled = sample(logits, {row, row, row});
        EXPECT_GE(sampled.at(0), 0);
        EXPECT_EQ(sampled.at(1), -1);
        EXPECT_GE(sampled.at(2), 0);
        EXPECT_EQ(sampled.logprob.at(1), 0);
        EXPECT_EQ(sampled.top_token.at(kTops), -1);
      }
    }
  }
}

TEST_F(Sample, ReportsTheModelsOwnLogProbabilities) {
  for (const int vocabulary : {3, 331, 128000}) {
    Owned logits = Owned::random(DType::kF32, {2, vocabulary}, 8, 3);
    logits.set(0, logits.view().f32()[2]);   // a tie
    logits.set(vocabulary + 1, -kInfinity);  // never listed
    // The favourite is edited away; its probability is reported as the model gave it.
    int favourite = 0;
    for (int i = 0; i < vocabulary; ++i) {
      if (logits.at(i) > logits.at(favourite)) favourite = i;
    }
    const Edits edits = {{.token = favourite, .bias = -kInfinity}, {.token = 0, .bias = 1}};
    const SampleRow row{.temperature = 0, .edit_end = 1, .top_logprobs = kTops, .want_logprob = 1};
    SampleRow other{.temperature = 0, .edit_begin = 1, .edit_end = 2, .want_logprob = 1};
    other.top_logprobs = 5;
    EXPECT_EQ(differing(logits, {row, other}, edits), 0);
    const Sampled sampled = sample(logits, {row, other}, edits);
    EXPECT_EQ(static_cast<int>(sampled.top_token.at(0)), favourite);
    EXPECT_NE(sampled.at(0), favourite);
  }
}

}  // namespace
}  // namespace switchyard::gpu
