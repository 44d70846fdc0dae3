// linear and gated_linear against the reference; also norm and gather, which are their input.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/cpu_weight.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::CpuWeight;
using reference::Doubles;
using reference::expect_close;
using reference::Owned;

struct Case {
  WeightFormat format;
  int64_t rows, outputs, cols;
};

std::string name_of_case(const testing::TestParamInfo<Case>& chosen) {
  return std::string(name_of(chosen.param.format)) + "_" + std::to_string(chosen.param.rows) + "x" +
         std::to_string(chosen.param.outputs) + "x" + std::to_string(chosen.param.cols);
}

class Linear : public testing::TestWithParam<Case> {};

TEST_P(Linear, MatchesTheReference) {
  const auto [format, rows, outputs, cols] = GetParam();
  const Owned x = Owned::random(DType::kF32, {rows, cols}, 1);
  const CpuWeight w = CpuWeight::random(format, outputs, cols, 2);
  Owned out = Owned::poisoned(DType::kF32, {rows, outputs});
  CpuBackend backend(2);
  backend.linear({.out = out.view(), .input = {.x = x.view()}, .weight = w.view()});
  expect_close(out, reference::product(x.values(), w.values(), cols));
}

TEST_P(Linear, AddsAResidualInPlaceToTheNormedProduct) {
  const auto [format, rows, outputs, cols] = GetParam();
  const Owned x = Owned::random(DType::kF32, {rows, cols}, 1);
  const Owned gain = Owned::random(DType::kF32, {cols}, 3);
  const CpuWeight w = CpuWeight::random(format, outputs, cols, 2);
  Owned normed = Owned::poisoned(DType::kF32, {rows, cols});
  Owned out = Owned::random(DType::kF32, {rows, outputs}, 4);
  Doubles want =
      reference::product(reference::norm(x.values(), gain.values(), 1e-5), w.values(), cols);
  for (size_t i = 0; i < want.size(); ++i) want[i] += out.at(static_cast<int64_t>(i));
  CpuBackend backend(2);
  backend.linear(
      {.out = out.view(),
       .input = {.x = x.view(), .gain = gain.view(), .epsilon = 1e-5f, .normed = normed.view()},
       .weight = w.view(),
       .residual = out.view()});
  expect_close(out, want);
}

TEST_P(Linear, GatesOneProductWithAnother) {
  const auto [format, rows, outputs, cols] = GetParam();
  const Owned x = Owned::random(DType::kF32, {rows, cols}, 1);
  const CpuWeight gate = CpuWeight::random(format, outputs, cols, 2, 0.3);
  const CpuWeight up = CpuWeight::random(format, outputs, cols, 3, 0.3);
  Owned out = Owned::poisoned(DType::kF32, {rows, outputs});
  CpuBackend backend(2);
  backend.gated_linear(
      {.out = out.view(), .input = {.x = x.view()}, .gate = gate.view(), .up = up.view()});
  expect_close(out, reference::gated(x.values(), gate.values(), up.values(), cols));
}

TEST_P(Linear, GivesARowTheSameBitsAloneWithAnyThreadsAndTwice) {
  const auto [format, rows, outputs, cols] = GetParam();
  const Owned x = Owned::random(DType::kF32, {rows, cols}, 1);
  const CpuWeight w = CpuWeight::random(format, outputs, cols, 2);
  Owned first = Owned::poisoned(DType::kF32, {rows, outputs});
  CpuBackend one(1);
  one.linear({.out = first.view(), .input = {.x = x.view()}, .weight = w.view()});
  for (const int threads : {1, 2, 3}) {
    CpuBackend backend(threads);
    Owned again = Owned::poisoned(DType::kF32, {rows, outputs});
    backend.linear({.out = again.view(), .input = {.x = x.view()}, .weight = w.view()});
    EXPECT_TRUE(first.same_bits(again)) << threads << " threads";
  }
  Owned alone = Owned::poisoned(DType::kF32, {rows, outputs});
  for (int64_t m = 0; m < rows; ++m) {
    one.linear({.out = Tensor(alone.view().f32() + m * outputs, DType::kF32, {1, outputs}),
                .input = {.x = Tensor(x.view().f32() + m * cols, DType::kF32, {1, cols})},
                .weight = w.view()});
  }
  EXPECT_TRUE(first.same_bits(alone));
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         Linear,
                         testing::Values(Case{WeightFormat::kF32, 1, 1, 1},
                                         Case{WeightFormat::kBf16, 1, 64, 256},
                                         Case{WeightFormat::kF16, 1, 33, 130},
                                         Case{WeightFormat::kF32, 7, 19, 67},
                                         Case{WeightFormat::kBf16, 13, 70, 31},
                                         Case{WeightFormat::kF16, 48, 16, 64},
                                         Case{WeightFormat::kBf16, 101, 37, 48},
                                         Case{WeightFormat::kF32, 50, 130, 16},
                                         Case{WeightFormat::kInt8, 1, 64, 256},
                                         Case{WeightFormat::kInt8, 7, 19, 67},
                                         Case{WeightFormat::kInt8, 50, 130, 33},
                                         Case{WeightFormat::kInt4, 1, 1, 1},
                                         Case{WeightFormat::kInt4, 1, 33, 130},
                                         Case{WeightFormat::kInt4, 13, 70, 31},
                                         Case{WeightFormat::kInt4, 48, 16, 384},
                                         Case{WeightFormat::kInt4, 5, 17, 193},
                                         Case{WeightFormat::kFp8, 1, 64, 256},
                                         Case{WeightFormat::kFp8, 9, 6, 3},
                                         Case{WeightFormat::kFp8, 101, 37, 48},
                                         Case{WeightFormat::kFp8, 6, 21, 320}),
                         name_of_case);

TEST(LinearWithGather, NormsOnlyTheRowsAskedFor) {
  const Owned x = Owned::random(DType::kF32, {5, 20}, 1);
  const Owned gain = Owned::random(DType::kF32, {20}, 2);
  const Owned w = Owned::random(DType::kBf16, {9, 20}, 3);
  const std::vector<int32_t> gather = {4, 1};
  Owned normed = Owned::poisoned(DType::kF32, {2, 20});
  Owned out = Owned::poisoned(DType::kF32, {2, 9});
  CpuBackend backend(1);
  backend.linear({.out = out.view(),
                  .input = {.x = x.view(),
                            .gain = gain.view(),
                            .epsilon = 1e-6f,
                            .normed = normed.view(),
                            .gather = gather.data()},
                  .weight = w.weight()});
  Doubles rows;
  for (const int32_t from : gather) {
    for (int i = 0; i < 20; ++i) rows.push_back(x.at(from * 20 + i));
  }
  const Doubles want = reference::norm(rows, gain.values(), 1e-6);
  expect_close(normed, want);
  expect_close(out, reference::product(want, w.values(), 20));
}

TEST(LinearOnUnalignedWeights, ReadsThemWhereTheyLie) {
  const Owned w = Owned::random(DType::kBf16, {7, 41}, 3);
  std::vector<uint16_t> shifted(7 * 41 + 1);
  std::memcpy(shifted.data() + 1, w.view().data, w.view().bytes());
  const Owned x = Owned::random(DType::kF32, {2, 41}, 1);
  Owned straight = Owned::poisoned(DType::kF32, {2, 7});
  Owned moved = Owned::poisoned(DType::kF32, {2, 7});
  CpuBackend backend(1);
  Weight weight = w.weight();
  backend.linear({.out = straight.view(), .input = {.x = x.view()}, .weight = weight});
  weight.data = shifted.data() + 1;
  backend.linear({.out = moved.view(), .input = {.x = x.view()}, .weight = weight});
  EXPECT_TRUE(straight.same_bits(moved));
}

TEST(LinearDeathTest, StopsOnShapesThatDoNotFit) {
  const Owned x = Owned::random(DType::kF32, {2, 8}, 1);
  const Owned w = Owned::random(DType::kBf16, {4, 9}, 2);
  Owned out(DType::kF32, {2, 4});
  CpuBackend backend(1);
  EXPECT_DEATH(backend.linear({.out = out.view(), .input = {.x = x.view()}, .weight = w.weight()}),
               "weight.cols == cols");
}

}  // namespace
}  // namespace switchyard
