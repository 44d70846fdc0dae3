// Models without weights on the null backend, and with random ones on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/make_backend.h"
#include "kernels/null/null_backend.h"
#include "tests/model/model_driver.h"

namespace switchyard {
namespace {

ModelConfig config_in(const std::string& folder) {
  Result<ModelConfig> config =
      load_model_config(std::filesystem::path(SWITCHYARD_SOURCE_DIR) / folder);
  CHECK_OK(config);
  return *std::move(config);
}

std::unique_ptr<const Model> model_of(const ModelConfig& config, WeightStore store) {
  Result<std::unique_ptr<const Model>> model = Model::load(config, std::move(store));
  CHECK_OK(model);
  return *std::move(model);
}

TEST(Measuring, ScratchBytesAreExactlyWhatTheLargestStepTakes) {
  for (const char* name : {"lfm2-8b-a1b", "lfm2-350m"}) {
    NullBackend backend(DType::kBf16);
    const auto model = model_of(config_in(std::string("deploy/configs/") + name),
                                WeightStore(shapes_only(), backend));
    ModelDriver driver(*model, backend, {.sequences = 1, .sequence_tokens = 33});
    driver.step({{.sequence = 0, .tokens = std::vector<int32_t>(33, 1), .logits = 33}});
    EXPECT_EQ(driver.scratch_peak_bytes(), model->scratch_bytes(33, 33)) << name;
    EXPECT_LT(model->scratch_bytes(1, 1), model->scratch_bytes(33, 1)) << name;
  }
}

// 3.115 GB of active weights in bf16, and little else at the start of a sequence.
TEST(Measuring, ADecodedTokenCostsTheActiveWeights) {
  NullBackend backend(DType::kBf16);
  const auto model =
      model_of(config_in("deploy/configs/lfm2-8b-a1b"), WeightStore(shapes_only(), backend));
  ModelDriver driver(*model, backend, {.sequences = 1, .sequence_tokens = 33});
  backend.reset();
  driver.step({{.sequence = 0, .tokens = {1}}});
  EXPECT_NEAR(backend.cost().bytes, 3.115e9, 0.01e9);
  EXPECT_NEAR(backend.cost().flops, 2 * 1.558e9, 0.01e9);
}

TEST(Measuring, WeightBytesAreThoseOfTheParameters) {
  NullBackend backend(DType::kBf16);
  const ModelConfig config = config_in("deploy/configs/lfm2.5-8b-a1b");
  const auto model = model_of(config, WeightStore(shapes_only(), backend));
  const auto bf16 = static_cast<double>(2 * count_parameters(config).total);
  EXPECT_NEAR(static_cast<double>(model->weight_bytes()), bf16, 1e-3 * bf16);
}

class RandomModel : public ::testing::Test {
 protected:
  ModelDriver::Logits answer(uint64_t seed) {
    const auto backend = make_backend("cpu", {.threads = 2}).backend;
    const auto model = model_of(config_in("tests/fixtures/models/lfm2_moe_bf16"),
                                WeightStore(random_weights(seed), *backend));
    ModelDriver driver(*model, *backend, {.sequences = 1, .sequence_tokens = 64});
    std::vector<int32_t> tokens(64);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7 % 512);
    ModelDriver::Logits logits = driver.step({{.sequence = 0, .tokens = tokens, .logits = 64}});
    experts_ = driver.experts();
    return logits;
  }
  std::map<int, ModelDriver::Experts> experts_;
};

TEST_F(RandomModel, IsTheSameForTheSameSeedOnly) {
  const ModelDriver::Logits once = answer(1);
  EXPECT_EQ(answer(1), once);
  EXPECT_NE(answer(2), once);
}

TEST_F(RandomModel, HasLogitsOfOrderOne) {
  double sum = 0;
  double count = 0;
  for (const std::vector<float>& row : answer(3)) {
    for (const float logit : row) {
      ASSERT_TRUE(std::isfinite(logit));
      sum += double{logit} * logit;
      ++count;
    }
  }
  EXPECT_GT(std::sqrt(sum / count), 0.3);
  EXPECT_LT(std::sqrt(sum / count), 3);
}

TEST_F(RandomModel, SpreadsItsTokensOverTheExperts) {
  answer(4);
  ASSERT_FALSE(experts_.empty());
  for (const auto& [layer, tokens] : experts_) {
    std::vector<int> load(8, 0);
    for (const std::vector<int>& chosen : tokens) {
      for (const int expert : chosen) ++load[static_cast<size_t>(expert)];
    }
    // 64 tokens choose 4 of 8: 32 each if the spread were even.
    EXPECT_GT(*std::min_element(load.begin(), load.end()), 4) << "layer " << layer;
    EXPECT_LT(*std::max_element(load.begin(), load.end()), 60) << "layer " << layer;
  }
}

}  // namespace
}  // namespace switchyard
