#include "engine/weights/weight_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "kernels/make_backend.h"
#include "tests/engine/weights/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Store : public ::testing::Test {
 protected:
  WeightStore store_of(const std::vector<FileTensor>& tensors, size_t padding = 0) {
    folder_.write("model.safetensors", file_of(tensors, padding));
    Result<WeightStore> store = WeightStore::open(folder_.path(), *backend_);
    CHECK_OK(store);
    return *std::move(store);
  }

  static std::vector<float> values_of(const Tensor& tensor) {
    return {tensor.f32(), tensor.f32() + tensor.elements()};
  }
  static std::vector<float> values_of(const void* data, size_t count) {
    std::vector<float> values(count);
    std::memcpy(values.data(), data, count * sizeof(float));
    return values;
  }

  const TemporaryFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_backend("cpu", {.threads = 1}).backend;
};

TEST_F(Store, GivesMatricesInTheirOwnFormat) {
  WeightStore store = store_of(
      {counting("a", {2, 3}), {"b", "BF16", {1, 2}, "wxyz"}, {"c", "F16", {2, 1}, "wxyz"}});
  const Result<Weight> a = store.matrix("a", 2, 3);
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->format, WeightFormat::kF32);
  EXPECT_EQ(a->rows, 2);
  EXPECT_EQ(a->cols, 3);
  EXPECT_THAT(values_of(a->data, 6), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(store.matrix("b", 1, 2)->format, WeightFormat::kBf16);
  EXPECT_EQ(store.matrix("c", 2, 1)->format, WeightFormat::kF16);
  EXPECT_EQ(store.bytes(), 24 + 4 + 4);
}

TEST_F(Store, CountsATensorThatIsUsedTwiceOnce) {
  WeightStore store = store_of({counting("a", {2, 3})});
  const void* once = store.matrix("a", 2, 3)->data;
  EXPECT_EQ(store.matrix("a", 2, 3)->data, once);
  EXPECT_EQ(store.bytes(), 24);
}

TEST_F(Store, AlignsMatricesThatTheFileDoesNot) {
  for (size_t padding = 0; padding < 8; ++padding) {
    WeightStore store = store_of({counting("a", {2, 3})}, padding);
    const Result<Weight> a = store.matrix("a", 2, 3);
    ASSERT_TRUE(a.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a->data) % 4, 0u);
    EXPECT_THAT(values_of(a->data, 6), ElementsAre(0, 1, 2, 3, 4, 5));
  }
}

TEST_F(Store, MakesFloatsOfSmallTensorsOfAnyType) {
  // 1, -2 and 0.5; in f16 also the smallest subnormal.
  WeightStore store =
      store_of({{"b", "BF16", {3}, std::string("\x80\x3f\x00\xc0\x00\x3f", 6)},
                {"h", "F16", {4}, std::string("\x00\x3c\x00\xc0\x00\x38\x01\x00", 8)},
                f32_tensor("f", {2}, {0.25F, 8})});
  EXPECT_THAT(values_of(*store.gain("b", 3)), ElementsAre(1, -2, 0.5F));
  EXPECT_THAT(values_of(*store.gain("h", 4)), ElementsAre(1, -2, 0.5F, 0x1p-24F));
  EXPECT_THAT(values_of(*store.selection_bias("f", 2)), ElementsAre(0.25F, 8));
}

TEST_F(Store, TakesTapsWithAndWithoutTheMiddleDimension) {
  WeightStore store = store_of({counting("a", {2, 1, 3}), counting("b", {2, 3}, 10)});
  const Result<Tensor> a = store.taps("a", 2, 3);
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_TRUE(a->is(DType::kF32, {2, 3}));
  EXPECT_THAT(values_of(*a), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values_of(*store.taps("b", 2, 3)), ElementsAre(10, 11, 12, 13, 14, 15));
}

TEST_F(Store, FindsExpertsInBothLayouts) {
  // E = 2 experts, H = 2, F = 1.
  WeightStore apart = store_of(
      {f32_tensor("x.0.w1.weight", {1, 2}, {1, 2}), f32_tensor("x.1.w1.weight", {1, 2}, {3, 4}),
       f32_tensor("x.0.w3.weight", {1, 2}, {5, 6}), f32_tensor("x.1.w3.weight", {1, 2}, {7, 8}),
       f32_tensor("x.0.w2.weight", {2, 1}, {9, 10}),
       f32_tensor("x.1.w2.weight", {2, 1}, {11, 12})});
  const TemporaryFolder other;
  other.write("model.safetensors",
              file_of({f32_tensor("x.gate_up_proj", {2, 2, 2}, {1, 2, 5, 6, 3, 4, 7, 8}),
                       f32_tensor("x.down_proj", {2, 2, 1}, {9, 10, 11, 12})}));
  Result<WeightStore> stacked = WeightStore::open(other.path(), *backend_);
  ASSERT_TRUE(stacked.ok());
  for (WeightStore* store : {&apart, &*stacked}) {
    const auto all = [&](ExpertMatrix which) {
      const Result<ExpertWeight> weight =
          store->experts({.prefix = "x", .which = which, .experts = 2, .hidden = 2, .width = 1});
      CHECK_OK(weight);
      std::vector<float> values = values_of(weight->data[0], 2);
      for (const float value : values_of(weight->data[1], 2)) values.push_back(value);
      return values;
    };
    EXPECT_THAT(all(ExpertMatrix::kGate), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(all(ExpertMatrix::kUp), ElementsAre(5, 6, 7, 8));
    EXPECT_THAT(all(ExpertMatrix::kDown), ElementsAre(9, 10, 11, 12));
    EXPECT_TRUE(store->finish({}).ok()) << store->finish({}).message();
    EXPECT_EQ(store->bytes(), 48);
  }
}

TEST_F(Store, NamesTheExpertThatIsMissingOrOfAnotherType) {
  const ExpertRequest request{.prefix = "x", .experts = 2, .hidden = 2, .width = 1};
  EXPECT_THAT(store_of({counting("x.0.w1.weight", {1, 2})}).experts(request).status().message(),
              HasSubstr("'x.1.w1.weight' is missing"));
  EXPECT_THAT(
      store_of({counting("x.0.w1.weight", {1, 2}), {"x.1.w1.weight", "BF16", {1, 2}, "abcd"}})
          .experts(request)
          .status()
          .message(),
      HasSubstr("'x.1.w1.weight' is not of the type"));
  EXPECT_THAT(store_of({counting("y", {1})}).experts(request).status().message(),
              HasSubstr("'x.0.w1.weight' is missing"));
  EXPECT_THAT(store_of({counting("x.gate_up_proj", {2, 1, 2})}).experts(request).status().message(),
              HasSubstr("'x.gate_up_proj' is [2, 1, 2], should be [2, 2, 2]"));
}

TEST_F(Store, NamesTheTensorThatDoesNotFit) {
  WeightStore store = store_of({counting("a", {2, 3}), {"i", "I32", {2, 1}, "12345678"}});
  EXPECT_EQ(store.matrix("z", 2, 3).status().code(), Code::kNotFound);
  EXPECT_THAT(store.matrix("a", 3, 2).status().message(),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("'a' is [2, 3], should be [3, 2]")));
  EXPECT_THAT(store.gain("a", 6).status().message(), HasSubstr("should be [6]"));
  EXPECT_THAT(store.matrix("i", 2, 1).status().message(), HasSubstr("'i' is of type I32"));
}

TEST_F(Store, NamesTensorsThatWereNotUsed) {
  WeightStore store = store_of({counting("a", {1, 1}), counting("b", {1}), counting("c", {1})});
  ASSERT_TRUE(store.matrix("a", 1, 1).ok());
  EXPECT_THAT(store.finish({}).message(), HasSubstr("does not use tensors 'b' 'c'"));
  const std::vector<std::string> some = {"b"};
  EXPECT_THAT(store.finish(some).message(), HasSubstr("does not use tensor 'c'"));
  const std::vector<std::string> all = {"c", "b", "not there"};
  EXPECT_TRUE(store.finish(all).ok());
}

TEST_F(Store, ServesRandomValuesThroughTheSameDoor) {
  WeightStore store(random_weights(5), *backend_);
  const Result<Weight> weight = store.matrix("a", 300, 64);
  ASSERT_TRUE(weight.ok());
  EXPECT_EQ(weight->format, WeightFormat::kBf16);
  const Result<Tensor> gain = store.gain("g", 1000);
  ASSERT_TRUE(gain.ok());
  float sum = 0;
  for (const float value : values_of(*gain)) sum += value;
  EXPECT_NEAR(sum / 1000, 1, 0.02);
  const Result<Weight> again = store.matrix("a", 300, 64);
  EXPECT_EQ(again->data, weight->data);
  EXPECT_TRUE(store.finish({}).ok());
}

}  // namespace
}  // namespace switchyard
