// embed: table rows, and the tokens of the step before.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::Owned;

class Embed : public testing::TestWithParam<DType> {};

TEST_P(Embed, LooksUpTokensAndTheTokensSampledBefore) {
  const Owned table = Owned::random(GetParam(), {11, 21}, 1);
  const std::vector<int32_t> token = {3, -2, 10, -1, 0, -3};
  const std::vector<int32_t> previous = {7, 5, -1};
  const std::vector<int32_t> want = {3, 5, 10, 7, 0, -1};  // -1: nothing was sampled
  Owned out = Owned::poisoned(DType::kF32, {6, 21});
  RaggedBatch batch;
  batch.num_tokens = 6;
  batch.token = token.data();
  for (const int threads : {1, 3}) {
    CpuBackend backend(threads);
    backend.embed({.out = out.view(), .table = table.weight(), .previous = previous.data()}, batch);
    for (int t = 0; t < 6; ++t) {
      for (int i = 0; i < 21; ++i) {
        EXPECT_EQ(out.at(t * 21 + i), want[t] < 0 ? 0.0 : table.at(want[t] * 21 + i));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats,
                         Embed,
                         testing::Values(DType::kF32, DType::kF16, DType::kBf16),
                         [](const testing::TestParamInfo<DType>& chosen) {
                           return name_of(chosen.param);
                         });

}  // namespace
}  // namespace switchyard
