// What WeightStore makes of a checkpoint's matrices when a plan asks for other formats, when the
// backend cannot read host memory, and when the weights are made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

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

const std::set<WeightFormat> kUsualFormats = {WeightFormat::kBf16, WeightFormat::kFp8,
                                              WeightFormat::kInt8, WeightFormat::kInt4};

struct Wanted {
  WeightChoice choice;
  WeightFormat format;
};
constexpr Wanted kWanted[] = {{WeightChoice::kBf16, WeightFormat::kBf16},
                              {WeightChoice::kFp8, WeightFormat::kFp8},
                              {WeightChoice::kInt8, WeightFormat::kInt8},
                              {WeightChoice::kInt4, WeightFormat::kInt4}};

FileTensor tensor_of(const std::string& name, const Owned& values, std::vector<int64_t> shape) {
  FileTensor tensor{name, values.view().dtype == DType::kF32 ? "F32" : "BF16", std::move(shape),
                    std::string(static_cast<size_t>(values.view().bytes()), 0)};
  std::memcpy(tensor.bytes.data(), values.view().data, tensor.bytes.size());
  return tensor;
}

// Rows [first, first + count) of a matrix.
Owned rows_of(const Owned& matrix, int64_t first, int64_t count) {
  const int64_t cols = matrix.view().dim(1);
  Owned rows(matrix.view().dtype, {count, cols});
  for (int64_t i = 0; i < count * cols; ++i) {
    rows.set(i, static_cast<float>(matrix.at(first * cols + i)));
  }
  return rows;
}

void expect_same(const Weight& got, const CpuWeight& want) {
  ASSERT_EQ(got.format, want.view().format);
  EXPECT_EQ(got.group, want.view().group);
  EXPECT_EQ(got.rows, want.view().rows);
  EXPECT_EQ(got.cols, want.view().cols);
  EXPECT_EQ(std::memcmp(got.data, want.data().data(), want.data().size()), 0);
  ASSERT_EQ(got.scale == nullptr, want.scale_bytes().empty());
  if (got.scale != nullptr) {
    EXPECT_EQ(std::memcmp(got.scale, want.scale_bytes().data(), want.scale_bytes().size()), 0);
  }
}

Weight expert_of(const ExpertWeight& experts, int64_t index) {
  return {.data = experts.data[index],
          .scale = experts.scale == nullptr ? nullptr : experts.scale[index],
          .format = experts.format,
          .group = experts.group,
          .rows = experts.rows,
          .cols = experts.cols};
}

class Formats : public ::testing::Test {
 protected:
  WeightStore store_of(const std::vector<FileTensor>& tensors,
                       Backend& backend,
                       const WeightPlan& plan,
                       size_t padding = 0) {
    folder_.write("model.safetensors", file_of(tensors, padding));
    Result<WeightStore> store = WeightStore::open(folder_.path(), backend, plan);
    CHECK_OK(store);
    return *std::move(store);
  }

  const TemporaryFolder folder_;
  CpuBackend near_{1};
  FarBackend far_{kUsualFormats};
  const Owned matrix_ = Owned::random(DType::kF32, {5, 192}, 1);
};

TEST_F(Formats, MatricesBecomeWhatThePlanSaysWhereverTheyLie) {
  for (const auto& [choice, format] : kWanted) {
    for (const ScaleChoice scales : {ScaleChoice::kRound, ScaleChoice::kSearch}) {
      const CpuWeight want(format, matrix_, scales);
      for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
        for (const size_t padding : {0, 1}) {
          WeightStore store = store_of({tensor_of("a", matrix_, {5, 192})}, *backend,
                                       {.weights = choice, .scales = scales}, padding);
          const Result<Weight> got = store.matrix("a", 5, 192);
          ASSERT_TRUE(got.ok()) << got.status().message();
          expect_same(*got, want);
          EXPECT_EQ(store.bytes(), want.view().bytes());
          EXPECT_EQ(store.matrix("a", 5, 192)->data, got->data);
          EXPECT_EQ(store.bytes(), want.view().bytes()) << "taken twice";
          EXPECT_TRUE(store.finish({}).ok());
        }
      }
    }
  }
}

TEST_F(Formats, AutoIsTheCheckpointsOwnOrBf16) {
  WeightStore near = store_of({tensor_of("a", matrix_, {5, 192})}, near_, {});
  EXPECT_EQ(near.matrix("a", 5, 192)->format, WeightFormat::kF32);
  WeightStore far = store_of({tensor_of("a", matrix_, {5, 192})}, far_, {});
  expect_same(*far.matrix("a", 5, 192), CpuWeight(WeightFormat::kBf16, matrix_));
}

TEST_F(Formats, PlainNumbersThatNeedNoChangeStayInTheFile) {
  const Owned stored = Owned::random(DType::kBf16, {5, 192}, 1);
  // The header is completed to a multiple of 8 bytes, so that the data is aligned.
  const std::vector<FileTensor> tensors = {tensor_of("a", stored, {5, 192})};
  const size_t padding = (8 - (file_of(tensors).size() - tensors[0].bytes.size()) % 8) % 8;
  WeightStore store = store_of(tensors, near_, {.weights = WeightChoice::kBf16}, padding);
  EXPECT_EQ(store.matrix("a", 5, 192)->data, store.embedding("a", 5, 192)->data);
  EXPECT_EQ(store.bytes(), 5 * 192 * 2);
}

TEST(Plan, KeepsAnInt4ModelsHeadInInt8) {
  const auto head = [](WeightChoice weights, WeightChoice chosen) {
    return WeightPlan{.weights = weights, .head = chosen}.head_choice();
  };
  EXPECT_EQ(head(WeightChoice::kAuto, WeightChoice::kAuto), WeightChoice::kAuto);
  EXPECT_EQ(head(WeightChoice::kBf16, WeightChoice::kAuto), WeightChoice::kBf16);
  EXPECT_EQ(head(WeightChoice::kFp8, WeightChoice::kAuto), WeightChoice::kFp8);
  EXPECT_EQ(head(WeightChoice::kInt8, WeightChoice::kAuto), WeightChoice::kInt8);
  EXPECT_EQ(head(WeightChoice::kInt4, WeightChoice::kAuto), WeightChoice::kInt8);
  EXPECT_EQ(head(WeightChoice::kInt4, WeightChoice::kBf16), WeightChoice::kBf16);
  EXPECT_EQ(head(WeightChoice::kAuto, WeightChoice::kInt4), WeightChoice::kInt4);
}

TEST(Plan, HasANameForEveryChoice) {
  for (const char* name : {"auto", "bf16", "fp8", "int8", "int4"}) {
    ASSERT_TRUE(weight_choice(name).has_value());
    EXPECT_EQ(name_of(*weight_choice(name)), name);
  }
  EXPECT_FALSE(weight_choice("int5").has_value());
  EXPECT_FALSE(weight_choice("").has_value());
}

TEST(Plan, IsRefusedWhereTheBackendDoesNotMultiplyIt) {
  const FarBackend backend({WeightFormat::kBf16, WeightFormat::kInt4});
  EXPECT_TRUE(check({}, backend).ok());
  EXPECT_THAT(check({.weights = WeightChoice::kFp8}, backend).message(),
              AllOf(HasSubstr("weights"), HasSubstr("fp8"), HasSubstr("far")));
  EXPECT_THAT(check({.weights = WeightChoice::kInt4}, backend).message(),
              AllOf(HasSubstr("head-weights"), HasSubstr("int8")));
}

TEST_F(Formats, ATiedHeadIsPackedBesideARowMajorEmbedding) {
  for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
    WeightStore store =
        store_of({tensor_of("a", matrix_, {5, 192})}, *backend, {.weights = WeightChoice::kInt4});
    const Result<Weight> embedding = store.embedding("a", 5, 192);
    const Result<Weight> head = store.head("a", 5, 192);
    ASSERT_TRUE(embedding.ok() && head.ok());
    expect_same(*embedding, CpuWeight(WeightFormat::kF32, matrix_));
    expect_same(*head, CpuWeight(WeightFormat::kInt8, matrix_));
    expect_same(*store.matrix("a", 5, 192), CpuWeight(WeightFormat::kInt4, matrix_));
    EXPECT_EQ(store.bytes(), 5 * 192 * 4 + head->bytes() + store.matrix("a", 5, 192)->bytes());
  }
}

TEST_F(Formats, ARouterIsNeverQuantised) {
  const WeightPlan plan{.weights = WeightChoice::kInt4};
  WeightStore near = store_of({tensor_of("a", matrix_, {5, 192})}, near_, plan);
  expect_same(*near.router("a", 5, 192), CpuWeight(WeightFormat::kF32, matrix_));
  WeightStore far = store_of({tensor_of("a", matrix_, {5, 192})}, far_, plan);
  expect_same(*far.router("a", 5, 192), CpuWeight(WeightFormat::kBf16, matrix_));
}

// E = 3 experts, H = 40, F = 5, from both layouts, to every format.
TEST_F(Formats, ExpertsArePackedFromBothLayouts) {
  const Owned gate_up = Owned::random(DType::kBf16, {3 * 2 * 5, 40}, 1);
  const Owned down = Owned::random(DType::kBf16, {3 * 40, 5}, 2);
  const std::vector<FileTensor> stacked = {tensor_of("x.gate_up_proj", gate_up, {3, 10, 40}),
                                           tensor_of("x.down_proj", down, {3, 40, 5})};
  std::vector<FileTensor> apart;
  for (int64_t e = 0; e < 3; ++e) {
    const std::string name = "x." + std::to_string(e);
    apart.push_back(tensor_of(name + ".w1.weight", rows_of(gate_up, e * 10, 5), {5, 40}));
    apart.push_back(tensor_of(name + ".w3.weight", rows_of(gate_up, e * 10 + 5, 5), {5, 40}));
    apart.push_back(tensor_of(name + ".w2.weight", rows_of(down, e * 40, 40), {40, 5}));
  }
  for (const auto& [choice, format] : kWanted) {
    for (const std::vector<FileTensor>* layout : {&stacked, &std::as_const(apart)}) {
      for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
        WeightStore store = store_of(*layout, *backend, {.weights = choice});
        int64_t bytes = 0;
        for (const ExpertMatrix which :
             {ExpertMatrix::kGate, ExpertMatrix::kUp, ExpertMatrix::kDown}) {
          const Result<ExpertWeight> got = store.experts(
              {.prefix = "x", .which = which, .experts = 3, .hidden = 40, .width = 5});
          ASSERT_TRUE(got.ok()) << got.status().message();
          for (int64_t e = 0; e < 3; ++e) {
            const int64_t first = e * 10 + (which == ExpertMatrix::kUp ? 5 : 0);
            const CpuWeight want(format, which == ExpertMatrix::kDown ? rows_of(down, e * 40, 40)
                                                                      : rows_of(gate_up, first, 5));
            expect_same(expert_of(*got, e), want);
            bytes += want.view().bytes();
          }
        }
        EXPECT_EQ(store.bytes(), bytes);
        EXPECT_TRUE(store.finish({}).ok());
      }
    }
  }
}

TEST_F(Formats, StagingMemoryIsGivenBackWhenLoadingIsOver) {
  const std::vector<FileTensor> tensors = {tensor_of("a", matrix_, {5, 192}),
                                           tensor_of("b", matrix_, {5, 192})};
  {
    WeightStore store = store_of(tensors, far_, {.weights = WeightChoice::kInt4});
    const int64_t packed = store.matrix("a", 5, 192)->bytes();
    ASSERT_TRUE(store.matrix("b", 5, 192).ok());
    EXPECT_EQ(far_.bytes(), 2 * packed + 5 * 192 * 4) << "one piece for both";
    ASSERT_TRUE(store.finish({}).ok());
    EXPECT_EQ(far_.bytes(), 2 * packed);
  }
  EXPECT_EQ(far_.buffers(), 0U);
}

TEST_F(Formats, FilesStayMappedOnlyForABackendThatReadsThem) {
  const auto mapped = [this] {
    std::ifstream maps("/proc/self/maps");
    const std::string all(std::istreambuf_iterator<char>(maps), {});
    return all.find(folder_.path()) != std::string::npos;
  };
  for (Backend* backend : std::initializer_list<Backend*>{&near_, &far_}) {
    WeightStore store = store_of({tensor_of("a", matrix_, {5, 192})}, *backend, {});
    ASSERT_TRUE(store.embedding("a", 5, 192).ok());
    ASSERT_TRUE(store.head("a", 5, 192).ok());
    EXPECT_TRUE(mapped());
    ASSERT_TRUE(store.finish({}).ok());
    EXPECT_EQ(mapped(), backend == &near_);
    EXPECT_EQ(store.read_bytes(), backend == &near_ ? 0 : 5 * 192 * 4) << "taken twice";
  }
}

TEST_F(Formats, SayWhichTensorThereIsNoMemoryFor) {
  const std::vector<FileTensor> tensors = {tensor_of("a", matrix_, {5, 192})};
  for (const int64_t bytes : {100, 480, 500, 1000}) {
    FarBackend small(kUsualFormats, bytes);
    WeightStore store = store_of(tensors, small, {.weights = WeightChoice::kInt4});
    const Status status = store.matrix("a", 5, 192).status();
    EXPECT_EQ(status.code(), Code::kResourceExhausted);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("'a'"), HasSubstr("does not fit")));
    EXPECT_EQ(store.embedding("a", 5, 192).status().code(), Code::kResourceExhausted);
  }
}

TEST_F(Formats, RandomWeightsAreDrawnByTheBackendInEveryFormat) {
  Owned drawn(DType::kBf16, {300, 64});
  for (const auto& [choice, format] : kWanted) {
    WeightStore near(random_weights(5), near_, {.weights = choice});
    WeightStore far(random_weights(5), far_, {.weights = choice});
    const Result<Weight> embedding = near.embedding("a", 300, 64);
    ASSERT_TRUE(embedding.ok());
    std::memcpy(drawn.view().data, embedding->data, drawn.view().bytes());
    double squares = 0;
    for (const double value : drawn.values()) squares += value * value;
    EXPECT_NEAR(squares / 300, 1, 0.02);  // of 64 numbers of variance 1/64
    const CpuWeight want(format, drawn);
    expect_same(*near.matrix("a", 300, 64), want);
    expect_same(*far.matrix("a", 300, 64), want);
    EXPECT_EQ(near.matrix("a", 300, 64)->data == embedding->data, format == WeightFormat::kBf16);
    const ExpertRequest request{.prefix = "x", .experts = 2, .hidden = 64, .width = 300};
    const Result<ExpertWeight> near_experts = near.experts(request);
    const Result<ExpertWeight> far_experts = far.experts(request);
    ASSERT_TRUE(near_experts.ok() && far_experts.ok());
    const auto codes = static_cast<size_t>(matrix_bytes(format, 0, 300, 64));
    EXPECT_EQ(std::memcmp(near_experts->data[1], far_experts->data[1], codes), 0);
    EXPECT_NE(std::memcmp(near_experts->data[0], near_experts->data[1], codes), 0);
  }
}

}  // namespace
}  // namespace switchyard
