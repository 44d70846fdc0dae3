// The null backend's costs against counts made by hand, for small shapes.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/null/null_backend.h"

namespace switchyard {
namespace {

// Views without contents: the null backend looks at shapes only.
Tensor tensor(DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor(nullptr, dtype, shape);
}
Tensor activations(int64_t rows, int64_t width) { return tensor(DType::kF32, {rows, width}); }

int placeholder = 0;

Weight weight(int64_t rows, int64_t cols) {
  return {.data = &placeholder, .format = WeightFormat::kBf16, .rows = rows, .cols = cols};
}

void expect_cost(const NullBackend& backend, std::string_view op, double bytes, double flops) {
  for (const OpCost& each : backend.by_op()) {
    EXPECT_EQ(each.calls, each.op == op ? 1 : 0) << each.op;
  }
  EXPECT_EQ(backend.cost().steps, 1);
  EXPECT_DOUBLE_EQ(backend.cost().bytes, bytes);
  EXPECT_DOUBLE_EQ(backend.cost().flops, flops);
}

TEST(NullBackend, CountsALinearWithNormAndResidual) {
  NullBackend backend(DType::kF32);
  backend.linear({.out = activations(3, 10),
                  .input = {.x = activations(3, 8),
                            .gain = tensor(DType::kF32, {8}),
                            .normed = activations(3, 8)},
                  .weight = weight(10, 8),
                  .residual = activations(3, 10)});
  // x, gain, weights, out, residual; norm, product, addition.
  expect_cost(backend, "linear", 3 * 8 * 4 + 8 * 4 + 10 * 8 * 2 + 2 * 3 * 10 * 4,
              4 * 3 * 8 + 2 * 3 * 10 * 8 + 3 * 10);
}

// 4.125, 8.125 and 8.25 bits a number: a scale of 16 bits (fp8: 32) for every 128.
TEST(NullBackend, CountsCodesAndScalesOfQuantisedWeights) {
  for (const auto& [format, bits] :
       {std::pair(WeightFormat::kInt4, 4.125), std::pair(WeightFormat::kInt8, 8.125),
        std::pair(WeightFormat::kFp8, 8.25)}) {
    NullBackend backend(DType::kF32);
    Weight quantised = weight(10, 256);
    quantised.format = format;
    quantised.group = 128;
    quantised.scale = &placeholder;
    EXPECT_TRUE(backend.multiplies(format));
    const WeightBytes bytes = backend.weight_bytes(format, 128, 10, 256);
    EXPECT_EQ(static_cast<double>(bytes.data + bytes.scale), 10 * 256 * bits / 8);
    backend.linear({.out = activations(3, 10),
                    .input = {.x = activations(3, 256)},
                    .weight = quantised,
                    .residual = {}});
    expect_cost(backend, "linear", 3 * 256 * 4 + 10 * 256 * bits / 8 + 3 * 10 * 4,
                2 * 3 * 10 * 256);
  }
}

// Rows begin at whole bytes, and the last group of a row may be short.
TEST(NullBackend, CountsOddRowsOfCodes) {
  EXPECT_EQ(matrix_bytes(WeightFormat::kInt4, 32, 3, 33), 3 * (17 + 2 * 2));
  EXPECT_EQ(matrix_bytes(WeightFormat::kFp8, 32, 3, 33), 3 * (33 + 2 * 4));
}

TEST(NullBackend, CountsTheRowsOfAnEmbeddingAndNotTheTable) {
  NullBackend backend(DType::kF32);
  RaggedBatch batch;
  batch.num_tokens = 3;
  backend.embed({.out = activations(3, 8), .table = weight(100000, 8)}, batch);
  expect_cost(backend, "embed", 3 * 8 * 2 + 3 * 8 * 4, 0);
}

TEST(NullBackend, CountsAGatedLinear) {
  NullBackend backend(DType::kF32);
  backend.gated_linear({.out = activations(2, 10),
                        .input = {.x = activations(2, 8)},
                        .gate = weight(10, 8),
                        .up = weight(10, 8)});
  expect_cost(backend, "gated_linear", 2 * 8 * 4 + 2 * 10 * 8 * 2 + 2 * 10 * 4,
              2 * 2 * 2 * 10 * 8 + 5 * 2 * 10);
}

TEST(NullBackend, CountsAShortConvolutionWithItsState) {
  NullBackend backend(DType::kF32);
  RaggedBatch batch;
  batch.num_tokens = 5;
  batch.num_rows = 2;
  backend.short_conv({.out = activations(5, 8),
                      .input = {.x = activations(5, 8)},
                      .in_proj = weight(24, 8),
                      .taps = tensor(DType::kF32, {8, 3}),
                      .state = tensor(DType::kF32, {9, 2, 8}),
                      .projected_work = activations(5, 24)},
                     batch);
  expect_cost(backend, "short_conv",
              5 * 8 * 4 + 24 * 8 * 2 + 8 * 3 * 4 + 2 * 2 * (2 * 8) * 4 + 5 * 8 * 4,
              2 * 5 * 24 * 8 + 5 * 8 * (2 + 2 * 3));
}

constexpr AttentionShape kShape{.heads = 4, .kv_heads = 2, .head_dim = 6, .block_tokens = 16};

KvCache cache() {
  return {tensor(DType::kBf16, {7, 2, 16, 6}), tensor(DType::kBf16, {7, 2, 16, 6})};
}

TEST(NullBackend, CountsProjectionsAndTheKeysAndValuesWritten) {
  NullBackend backend(DType::kF32);
  RaggedBatch batch;
  batch.num_tokens = 5;
  backend.qkv({.q = activations(5, 24),
               .input = {.x = activations(5, 8)},
               .q_proj = weight(24, 8),
               .k_proj = weight(12, 8),
               .v_proj = weight(12, 8),
               .q_gain = tensor(DType::kF32, {6}),
               .inv_frequency = tensor(DType::kF32, {3}),
               .shape = kShape,
               .cache = cache(),
               .kv_work = activations(5, 24)},
              batch);
  expect_cost(backend, "qkv", 5 * 8 * 4 + 48 * 8 * 2 + 6 * 4 + 3 * 4 + 5 * 24 * 4 + 5 * 24 * 2,
              2 * 5 * 48 * 8 + 5 * (3 * (24 + 12) + 4 * 24));
}

TEST(NullBackend, CountsTheKeysThatTheBatchSays) {
  NullBackend backend(DType::kF32);
  const std::vector<int32_t> row_start = {0, 3, 4}, kv_len = {3, 40};
  RaggedBatch batch;
  batch.num_tokens = 4;
  batch.num_rows = 2;
  batch.row_start = row_start.data();
  batch.kv_len = kv_len.data();
  backend.attention(
      {.out = activations(4, 24), .q = activations(4, 24), .shape = kShape, .cache = cache()},
      batch);
  // The three new tokens of the first row see 1, 2 and 3 keys.
  expect_cost(backend, "attention", 2 * 4 * 24 * 4 + (3 + 40) * (2 * 2 * 6) * 2,
              4 * (1 + 2 + 3 + 40) * 4 * 6);
}

Routing routing(int64_t tokens, int64_t top_k, int64_t experts) {
  return {.expert = tensor(DType::kI32, {tokens, top_k}),
          .weight = tensor(DType::kF32, {tokens, top_k}),
          .order = tensor(DType::kI32, {tokens * top_k}),
          .expert_start = tensor(DType::kI32, {experts + 1})};
}

TEST(NullBackend, CountsTheRouter) {
  NullBackend backend(DType::kF32);
  backend.route({.routing = routing(3, 2, 8),
                 .input = {.x = activations(3, 10)},
                 .router = weight(8, 10),
                 .bias = tensor(DType::kF32, {8}),
                 .spec = {.top_k = 2, .renormalise_epsilon = {}}});
  expect_cost(backend, "route",
              3 * 10 * 4 + 8 * 10 * 2 + 8 * 4 + 2 * (3 * 2) * 4 + 3 * 2 * 4 + 9 * 4,
              2 * 3 * 8 * 10 + 4 * 3 * 8);
}

TEST(NullBackend, ExpectsTheExpertsOfUniformRouting) {
  const void* none = nullptr;
  const ExpertWeight up{
      .data = &none, .format = WeightFormat::kBf16, .experts = 8, .rows = 12, .cols = 10};
  const ExpertWeight down{
      .data = &none, .format = WeightFormat::kBf16, .experts = 8, .rows = 10, .cols = 12};
  const double experts = 8 * (1 - std::pow(0.75, 3));  // of 8, for 3 tokens that take 2 each
  NullBackend backend(DType::kF32);
  backend.expert_up({.out = activations(6, 12),
                     .x = activations(3, 10),
                     .routing = routing(3, 2, 8),
                     .gate = up,
                     .up = up});
  expect_cost(backend, "expert_up", experts * 2 * 120 * 2 + 3 * 10 * 4 + 6 * 12 * 4,
              2 * 2 * 6 * 120 + 5 * 6 * 12);
  backend.reset();
  backend.expert_down({.out = activations(3, 10),
                       .hidden = activations(6, 12),
                       .residual = activations(3, 10),
                       .routing = routing(3, 2, 8),
                       .down = down,
                       .expert_work = activations(6, 10)});
  expect_cost(backend, "expert_down", experts * 120 * 2 + 6 * 12 * 4 + 2 * 3 * 10 * 4,
              2 * 6 * 120 + 2 * 6 * 10 + 3 * 10);
}

TEST(NullBackend, CountsOneLookAtTheLogits) {
  NullBackend backend(DType::kF32);
  const SampleRow row;
  backend.sample({.logits = activations(1, 50),
                  .rows = &row,
                  .token = tensor(DType::kI32, {1}),
                  .logprob = tensor(DType::kF32, {1}),
                  .top_token = tensor(DType::kI32, {1, 0}),
                  .top_logprob = tensor(DType::kF32, {1, 0})});
  expect_cost(backend, "sample", 50 * 4 + 4, 50);
}

TEST(NullBackend, CountsACapturedOpWhenItIsReplayed) {
  NullBackend backend(DType::kBf16);
  backend.begin_capture();
  backend.linear({.out = tensor(DType::kF32, {1, 4}),
                  .input = {.x = tensor(DType::kBf16, {1, 8})},
                  .weight = weight(4, 8)});
  const std::unique_ptr<Graph> graph = backend.end_capture();
  EXPECT_EQ(backend.cost().steps, 0);
  graph->replay();
  graph->replay();
  EXPECT_EQ(backend.cost().steps, 2);
  EXPECT_DOUBLE_EQ(backend.cost().bytes, 2 * (8 * 2 + 4 * 8 * 2 + 4 * 4));
}

TEST(NullBackend, KeepsTrackOfMemoryEvenWhenBuffersOutliveIt) {
  Buffer kept;
  {
    NullBackend backend(DType::kF32);
    kept = backend.allocate(100);
    { const Buffer brief = backend.allocate(50); }
    EXPECT_EQ(backend.allocated_bytes(), 100);
    EXPECT_EQ(backend.peak_allocated_bytes(), 150);
  }
  EXPECT_EQ(static_cast<char*>(kept.data())[99], 0);
}

TEST(NullBackendDeathTest, ChecksShapesAsEveryBackendDoes) {
  NullBackend backend(DType::kF32);
  EXPECT_DEATH(
      backend.linear(
          {.out = activations(3, 11), .input = {.x = activations(3, 8)}, .weight = weight(10, 8)}),
      "CHECK");
}

}  // namespace
}  // namespace switchyard
