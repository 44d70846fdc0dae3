// qkv and attention against the reference: head norms, rotation, the paged cache, the causal mask.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::Batch;
using reference::Doubles;
using reference::expect_close;
using reference::Owned;

constexpr int kWidth = 40;

struct Case {
  AttentionShape shape;
  DType weights;
  DType cache;
  double tolerance;
};

// One attention layer of one model, and what it keeps.
struct Layer {
  explicit Layer(const Case& chosen)
      : test(chosen),
        q_proj(Owned::random(test.weights, {heads() * dim(), kWidth}, 11, 0.4)),
        k_proj(Owned::random(test.weights, {kv_heads() * dim(), kWidth}, 12, 0.4)),
        v_proj(Owned::random(test.weights, {kv_heads() * dim(), kWidth}, 13, 0.4)),
        input_gain(Owned::random(DType::kF32, {kWidth}, 14)),
        q_gain(Owned::random(DType::kF32, {dim()}, 15)),
        k_gain(Owned::random(DType::kF32, {dim()}, 16)),
        inv_frequency(DType::kF32, {dim() / 2}),
        key(Owned::poisoned(test.cache, {200, kv_heads(), test.shape.block_tokens, dim()})),
        value(Owned::poisoned(test.cache, {200, kv_heads(), test.shape.block_tokens, dim()})) {
    for (int i = 0; i < dim() / 2; ++i) {
      inv_frequency.set(i, static_cast<float>(std::pow(1e4, -2.0 * i / dim())));
    }
  }
  [[nodiscard]] int heads() const { return test.shape.heads; }
  [[nodiscard]] int kv_heads() const { return test.shape.kv_heads; }
  [[nodiscard]] int dim() const { return test.shape.head_dim; }

  Case test;
  Owned q_proj, k_proj, v_proj, input_gain, q_gain, k_gain, inv_frequency, key, value;
};

// Runs qkv and attention on the new tokens `x` [T, kWidth] of a batch.
Owned run(Backend& backend, Layer& layer, const Tensor& x, const RaggedBatch& batch) {
  const int64_t tokens = batch.num_tokens;
  const int64_t q_width = layer.heads() * layer.dim();
  Owned normed = Owned::poisoned(DType::kF32, {tokens, kWidth});
  Owned q = Owned::poisoned(DType::kF32, {tokens, q_width});
  Owned kv = Owned::poisoned(DType::kF32, {tokens, 2 * layer.kv_heads() * layer.dim()});
  Owned out = Owned::poisoned(DType::kF32, {tokens, q_width});
  const KvCache cache{layer.key.view(), layer.value.view()};
  backend.qkv({.q = q.view(),
               .input = {.x = x,
                         .gain = layer.input_gain.view(),
                         .epsilon = 1e-5f,
                         .normed = normed.view()},
               .q_proj = layer.q_proj.weight(),
               .k_proj = layer.k_proj.weight(),
               .v_proj = layer.v_proj.weight(),
               .q_gain = layer.q_gain.view(),
               .k_gain = layer.k_gain.view(),
               .head_epsilon = 1e-5f,
               .inv_frequency = layer.inv_frequency.view(),
               .shape = layer.test.shape,
               .cache = cache,
               .kv_work = kv.view()},
              batch);
  backend.attention(
      {.out = out.view(), .q = q.view(), .shape = layer.test.shape, .cache = cache, .scale = 0.31f},
      batch);
  return out;
}

Doubles rotated_heads(const Layer& layer, const Doubles& x, const Owned& proj, const Owned& gain) {
  const int dim = layer.dim();
  Doubles heads =
      reference::norm(reference::product(x, proj.values(), kWidth), gain.values(), 1e-5);
  const size_t width = static_cast<size_t>(proj.view().dim(0));
  for (size_t h = 0; h < heads.size() / dim; ++h) {
    const double position = static_cast<double>(h * dim / width);
    for (int i = 0; i < dim / 2; ++i) {
      const double angle = position * layer.inv_frequency.at(i);
      double& a = heads[h * dim + i];
      double& b = heads[h * dim + i + dim / 2];
      const double was = a;
      a = was * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + was * std::sin(angle);
    }
  }
  return heads;
}

// The whole sequence [n, kWidth] at once, from position 0.
Doubles reference_layer(const Layer& layer, const Doubles& sequence) {
  const size_t dim = layer.dim(), heads = layer.heads(), kv_heads = layer.kv_heads();
  const Doubles x = reference::norm(sequence, layer.input_gain.values(), 1e-5);
  const size_t tokens = x.size() / kWidth;
  const Doubles q = rotated_heads(layer, x, layer.q_proj, layer.q_gain);
  const Doubles k = rotated_heads(layer, x, layer.k_proj, layer.k_gain);
  const Doubles v = reference::product(x, layer.v_proj.values(), kWidth);
  Doubles out(tokens * heads * dim);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t h = 0; h < heads; ++h) {
      const size_t kv = h / (heads / kv_heads);
      double total = 0;
      for (size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (size_t d = 0; d < dim; ++d) {
          score += q[(t * heads + h) * dim + d] * k[(s * kv_heads + kv) * dim + d];
        }
        const double weight = std::exp(0.31 * score);
        total += weight;
        for (size_t d = 0; d < dim; ++d) {
          out[(t * heads + h) * dim + d] += weight * v[(s * kv_heads + kv) * dim + d];
        }
      }
      for (size_t d = 0; d < dim; ++d) out[(t * heads + h) * dim + d] /= total;
    }
  }
  return out;
}

class Attention : public testing::TestWithParam<Case> {};

TEST_P(Attention, MatchesTheReferenceForRowsOfAnyLength) {
  for (const int32_t length : {1, 5, 64, 150}) {
    Layer layer(GetParam());
    const Owned x = Owned::random(DType::kF32, {length, kWidth}, 100 + length);
    const Batch batch({.tokens = {length}, .past = {0}}, layer.test.shape.block_tokens);
    CpuBackend backend(2);
    const Owned out = run(backend, layer, x.view(), batch.view());
    expect_close(out, reference_layer(layer, x.values()), GetParam().tolerance);
  }
}

Tensor slice(const Owned& owned, int64_t begin, int64_t end) {
  const int64_t width = owned.view().dim(1);
  return Tensor(owned.view().f32() + begin * width, DType::kF32, {end - begin, width});
}

TEST_P(Attention, GivesTheSameBitsInChunksInBatchesAndWithAnyThreads) {
  constexpr int32_t kLength = 141;
  const Owned x = Owned::random(DType::kF32, {kLength, kWidth}, 5);
  const int block = GetParam().shape.block_tokens;
  Layer whole_layer(GetParam());
  CpuBackend one(1);
  const Owned whole =
      run(one, whole_layer, x.view(), Batch({.tokens = {kLength}, .past = {0}}, block).view());
  const int64_t width = whole.view().dim(1);
  const auto expect_part = [&](const Owned& part, int64_t at, int64_t from, int64_t count) {
    EXPECT_EQ(0, std::memcmp(part.view().f32() + at * width, whole.view().f32() + from * width,
                             count * width * sizeof(float)))
        << "tokens " << from << " to " << from + count;
  };
  for (const int threads : {1, 2, 3}) {
    CpuBackend backend(threads);
    Layer layer(GetParam());
    int32_t past = 0;
    for (const int32_t chunk : {1, 63, 1, 7, 69}) {
      const Owned part = run(backend, layer, slice(x, past, past + chunk),
                             Batch({.tokens = {chunk}, .past = {past}}, block).view());
      expect_part(part, 0, past, chunk);
      past += chunk;
    }
  }
  // Two more rows around it in one batch, the last token of it decoded between them.
  Layer layer(GetParam());
  Owned joined = Owned::random(DType::kF32, {3 + kLength - 1 + 2, kWidth}, 6);
  std::memcpy(joined.view().f32() + 3 * kWidth, x.view().data, (kLength - 1) * kWidth * 4);
  CpuBackend backend(2);
  const Owned batched =
      run(backend, layer, joined.view(),
          Batch({.tokens = {3, kLength - 1, 2}, .past = {0, 0, 0}}, block).view());
  expect_part(batched, 3, 0, kLength - 1);
  Owned decode = Owned::random(DType::kF32, {3, kWidth}, 7);
  std::memcpy(decode.view().f32() + kWidth, slice(x, kLength - 1, kLength).data, kWidth * 4);
  const Owned last = run(backend, layer, decode.view(),
                         Batch({.tokens = {1, 1, 1}, .past = {3, kLength - 1, 2}}, block).view());
  expect_part(last, 1, kLength - 1, 1);
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         Attention,
                         testing::Values(Case{{4, 2, 16, 8}, DType::kF32, DType::kF32, 5e-6},
                                         Case{{8, 2, 64, 64}, DType::kBf16, DType::kBf16, 1e-2},
                                         Case{{3, 1, 10, 16}, DType::kF16, DType::kF16, 2e-3},
                                         Case{{40, 1, 6, 32}, DType::kF32, DType::kF32, 5e-6},
                                         Case{{2, 2, 80, 128}, DType::kBf16, DType::kF32, 5e-6}),
                         [](const testing::TestParamInfo<Case>& chosen) {
                           const AttentionShape& shape = chosen.param.shape;
                           return std::to_string(shape.heads) + "of" +
                                  std::to_string(shape.kv_heads) + "x" +
                                  std::to_string(shape.head_dim) + "_" +
                                  name_of(chosen.param.cache);
                         });

TEST(AttentionAfterEviction, CountsKeysFromKvLenAndAnglesFromPosition) {
  // Six keys are kept although the token's position is 1000: only the rotation may notice.
  Layer layer({{2, 1, 8, 4}, DType::kF32, DType::kF32, 0});
  const Owned x = Owned::random(DType::kF32, {6, kWidth}, 9);
  const Batch batch({.tokens = {6}, .past = {0}}, 4);
  CpuBackend backend(1);
  const Owned straight = run(backend, layer, x.view(), batch.view());
  RaggedBatch moved = batch.view();
  std::vector<int32_t> position(6);
  for (int i = 0; i < 6; ++i) position[i] = 1000 + i;
  moved.position = position.data();
  const Owned shifted = run(backend, layer, x.view(), moved);
  expect_close(shifted, straight.values(), 1e-4);  // angles differ by the same amount
}

TEST(AttentionWithoutKeys, IsZero) {
  Layer layer({{2, 1, 8, 4}, DType::kF32, DType::kF32, 0});
  const std::vector<int32_t> row_start = {0, 1}, zero = {0}, blocks = {0, 0};
  RaggedBatch padding;
  padding.num_tokens = padding.num_rows = 1;
  padding.row_start = row_start.data();
  padding.kv_len = zero.data();
  padding.block_start = blocks.data();
  padding.block_id = zero.data();
  const Owned q = Owned::random(DType::kF32, {1, 16}, 1);
  Owned out = Owned::poisoned(DType::kF32, {1, 16});
  CpuBackend backend(1);
  backend.attention({.out = out.view(),
                     .q = q.view(),
                     .shape = layer.test.shape,
                     .cache = {layer.key.view(), layer.value.view()}},
                    padding);
  EXPECT_EQ(out.values(), Doubles(16, 0.0));
}

}  // namespace
}  // namespace switchyard
