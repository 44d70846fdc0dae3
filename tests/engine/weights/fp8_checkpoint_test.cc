// Checkpoints whose matrices are F8_E4M3 already, with scales of blocks or of rows beside them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "engine/weights/weight_store.h"
#include "tests/engine/weights/checkpoint_files.h"
#include "tests/engine/weights/far_backend.h"
#include "tests/kernels/cpu_weight.h"

namespace switchyard {
namespace {

using reference::CpuWeight;
using reference::Owned;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Every code but NaN, in an order without a pattern.
std::string codes_of(int64_t count, int seed) {
  std::string codes;
  for (int64_t i = 0; i < count; ++i) {
    const auto code = static_cast<uint8_t>((i * 89 + i / 7 * 31 + seed) % 256);
    codes.push_back(static_cast<char>((code & 0x7f) == 0x7f ? 0x12 : code));
  }
  return codes;
}

FileTensor fp8_tensor(const std::string& name, std::vector<int64_t> shape, int seed = 0) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return {name, "F8_E4M3", std::move(shape), codes_of(count, seed)};
}

FileTensor scales(const std::string& name, std::vector<int64_t> shape) {
  FileTensor tensor = counting(name, std::move(shape));
  for (size_t i = 0; i < tensor.bytes.size() / 4; ++i) {
    const float scale = 0.013F * static_cast<float>(i + 1);
    std::memcpy(tensor.bytes.data() + i * 4, &scale, 4);
  }
  return tensor;
}

float scale_at(const FileTensor& tensor, int64_t index) {
  float scale = 0;
  std::memcpy(&scale, tensor.bytes.data() + index * 4, 4);
  return scale;
}

class Fp8Checkpoint : public ::testing::Test {
 protected:
  WeightStore store_of(const std::vector<FileTensor>& tensors,
                       Backend& backend,
                       const WeightPlan& plan = {}) {
    folder_.write("model.safetensors", file_of(tensors));
    Result<WeightStore> store = WeightStore::open(folder_.path(), backend, plan);
    CHECK_OK(store);
    return *std::move(store);
  }

  // `got`, kept as fp8, has these codes, and scale_of(row, column) where it matters.
  static void expect_kept(const Weight& got,
                          const char* codes,
                          const std::function<float(int64_t, int64_t)>& scale_of) {
    ASSERT_EQ(got.format, WeightFormat::kFp8);
    EXPECT_EQ(std::memcmp(got.data, codes, static_cast<size_t>(got.rows * got.cols)), 0);
    const int64_t groups = (got.cols + got.group - 1) / got.group;
    for (int64_t row = 0; row < got.rows; ++row) {
      for (int64_t group = 0; group < groups; ++group) {
        ASSERT_EQ(static_cast<const float*>(got.scale)[row * groups + group],
                  scale_of(row, group * got.group))
            << row << ", " << group;
      }
    }
  }

  const TemporaryFolder folder_;
  CpuBackend near_{1};
  FarBackend far_{{WeightFormat::kBf16, WeightFormat::kFp8}};
};

TEST_F(Fp8Checkpoint, KeepsItsCodesAndTheScalesOfItsBlocks) {
  const FileTensor matrix = fp8_tensor("a.weight", {130, 200});
  const FileTensor blocks = scales("a.weight_scale_inv", {2, 2});
  for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
    WeightStore store = store_of({matrix, blocks}, *backend);
    const Result<Weight> got = store.matrix("a.weight", 130, 200);
    ASSERT_TRUE(got.ok()) << got.status().message();
    expect_kept(*got, matrix.bytes.data(), [&](int64_t row, int64_t col) {
      return scale_at(blocks, row / 128 * 2 + col / 128);
    });
    EXPECT_TRUE(store.finish({}).ok()) << store.finish({}).message();
  }
}

TEST_F(Fp8Checkpoint, KeepsTheScalesOfItsRowsInBothShapes) {
  const FileTensor matrix = fp8_tensor("a.weight", {6, 256});
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6}, std::vector<int64_t>{6, 1}}) {
    const FileTensor rows = scales("a.weight_scale", shape);
    WeightStore store = store_of({matrix, rows}, near_, {.weights = WeightChoice::kFp8});
    const Result<Weight> got = store.matrix("a.weight", 6, 256);
    ASSERT_TRUE(got.ok()) << got.status().message();
    expect_kept(*got, matrix.bytes.data(),
                [&](int64_t row, int64_t) { return scale_at(rows, row); });
    EXPECT_TRUE(store.finish({}).ok());
  }
}

TEST_F(Fp8Checkpoint, TakesScalesInBf16) {
  const FileTensor matrix = fp8_tensor("a", {3, 32});
  WeightStore store = store_of(
      {matrix, {"a_scale", "BF16", {3}, std::string("\x80\x3f\x00\xc0\x00\x3f", 6)}}, near_);
  const Result<Weight> got = store.matrix("a", 3, 32);
  ASSERT_TRUE(got.ok()) << got.status().message();
  expect_kept(*got, matrix.bytes.data(), [](int64_t row, int64_t) {
    return row == 0 ? 1.0F : row == 1 ? -2.0F : 0.5F;
  });
}

TEST_F(Fp8Checkpoint, BecomesAnyOtherFormat) {
  const FileTensor matrix = fp8_tensor("a", {130, 200});
  const FileTensor blocks = scales("a_scale_inv", {2, 2});
  Owned values(DType::kF32, {130, 200});
  for (int64_t i = 0; i < 130 * 200; ++i) {
    const auto code = static_cast<uint8_t>(matrix.bytes[static_cast<size_t>(i)]);
    values.set(i, static_cast<float>(reference::e4m3_value(code)) *
                      scale_at(blocks, i / 200 / 128 * 2 + i % 200 / 128));
  }
  for (const auto& [choice, format] : {std::pair(WeightChoice::kBf16, WeightFormat::kBf16),
                                       std::pair(WeightChoice::kInt8, WeightFormat::kInt8),
                                       std::pair(WeightChoice::kInt4, WeightFormat::kInt4)}) {
    const CpuWeight want(format, values);
    WeightStore store = store_of({matrix, blocks}, near_, {.weights = choice});
    const Result<Weight> got = store.matrix("a", 130, 200);
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(got->format, format);
    EXPECT_EQ(std::memcmp(got->data, want.data().data(), want.data().size()), 0);
  }
  FarBackend plain({WeightFormat::kBf16});
  EXPECT_EQ(store_of({matrix, blocks}, plain).matrix("a", 130, 200)->format, WeightFormat::kBf16);
}

// F = 96: the rows of `up` begin in the middle of a block of the stack.
TEST_F(Fp8Checkpoint, FindsTheScalesOfStackedExperts) {
  const FileTensor gate_up = fp8_tensor("x.gate_up_proj", {2, 192, 160}, 1);
  const FileTensor gate_up_scales = scales("x.gate_up_proj_scale_inv", {2, 2, 2});
  const FileTensor down = fp8_tensor("x.down_proj", {2, 160, 96}, 2);
  const FileTensor down_scales = scales("x.down_proj_scale", {2, 160});
  for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
    WeightStore store = store_of({gate_up, gate_up_scales, down, down_scales}, *backend);
    const auto expert = [&](ExpertMatrix which, int64_t index) {
      const Result<ExpertWeight> all =
          store.experts({.prefix = "x", .which = which, .experts = 2, .hidden = 160, .width = 96});
      CHECK_OK(all);
      return Weight{.data = all->data[index],
                    .scale = all->scale[index],
                    .format = all->format,
                    .group = all->group,
                    .rows = all->rows,
                    .cols = all->cols};
    };
    for (int64_t e = 0; e < 2; ++e) {
      for (const int64_t skipped : {0, 96}) {
        expect_kept(
            expert(skipped == 0 ? ExpertMatrix::kGate : ExpertMatrix::kUp, e),
            gate_up.bytes.data() + (e * 192 + skipped) * 160, [&](int64_t row, int64_t col) {
              return scale_at(gate_up_scales, e * 4 + (skipped + row) / 128 * 2 + col / 128);
            });
      }
      expect_kept(expert(ExpertMatrix::kDown, e), down.bytes.data() + e * 160 * 96,
                  [&](int64_t row, int64_t) { return scale_at(down_scales, e * 160 + row); });
    }
    EXPECT_TRUE(store.finish({}).ok()) << store.finish({}).message();
  }
}

TEST_F(Fp8Checkpoint, SaysWhatIsWrongWithIt) {
  const auto problem = [&](const std::vector<FileTensor>& tensors) {
    return store_of(tensors, near_).matrix("a", 130, 200).status().message();
  };
  const FileTensor matrix = fp8_tensor("a", {130, 200});
  EXPECT_THAT(problem({matrix}),
              AllOf(HasSubstr("'a'"), HasSubstr("neither a_scale_inv nor a_scale")));
  EXPECT_THAT(problem({matrix, scales("a_scale_inv", {2, 3})}),
              HasSubstr("'a_scale_inv' is [2, 3], should be [2, 2]"));
  EXPECT_THAT(problem({matrix, scales("a_scale", {1})}),
              HasSubstr("'a_scale' is [1], should be [130]"));
  EXPECT_THAT(problem({matrix, {"a_scale_inv", "I32", {2, 2}, std::string(16, 1)}}),
              HasSubstr("'a_scale_inv' is of type I32"));
  FileTensor broken = matrix;
  broken.bytes[777] = '\x7f';
  EXPECT_THAT(problem({broken, scales("a_scale_inv", {2, 2})}), HasSubstr("'a' holds a NaN"));
  WeightStore store = store_of({matrix, scales("a_scale_inv", {2, 2})}, near_);
  EXPECT_THAT(store.embedding("a", 130, 200).status().message(), HasSubstr("is of type F8_E4M3"));
}

}  // namespace
}  // namespace switchyard
