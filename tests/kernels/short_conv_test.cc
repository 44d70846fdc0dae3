// short_conv against the reference; the state carried between steps, and padding's shared slot.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::Batch;
using reference::Doubles;
using reference::expect_close;
using reference::Owned;

struct Case {
  DType dtype;
  int64_t width;
  int64_t taps;
};

struct Layer {
  explicit Layer(const Case& test)
      : width(test.width),
        gain(Owned::random(DType::kF32, {width}, 1)),
        in_proj(Owned::random(test.dtype, {3 * width, width}, 2, 0.3)),
        taps(Owned::random(DType::kF32, {width, test.taps}, 3)),
        state(Owned::poisoned(DType::kF32, {4, test.taps - 1, width})) {}
  int64_t width;
  Owned gain, in_proj, taps, state;
};

Owned run(Backend& backend, Layer& layer, const Tensor& x, const RaggedBatch& batch) {
  const int64_t tokens = batch.num_tokens;
  Owned normed = Owned::poisoned(DType::kF32, {tokens, layer.width});
  Owned projected = Owned::poisoned(DType::kF32, {tokens, 3 * layer.width});
  Owned out = Owned::poisoned(DType::kF32, {tokens, layer.width});
  backend.short_conv(
      {.out = out.view(),
       .input = {.x = x, .gain = layer.gain.view(), .epsilon = 1e-5f, .normed = normed.view()},
       .in_proj = layer.in_proj.weight(),
       .taps = layer.taps.view(),
       .state = layer.state.view(),
       .projected_work = projected.view()},
      batch);
  return out;
}

// The whole sequence at once; `columns` gets u, [tokens, width].
Doubles reference_layer(const Layer& layer, const Doubles& sequence, Doubles& columns) {
  const size_t width = layer.width, taps = layer.taps.view().dim(1);
  const Doubles x = reference::norm(sequence, layer.gain.values(), 1e-5);
  const Doubles projected = reference::product(x, layer.in_proj.values(), width);
  const size_t tokens = x.size() / width;
  columns.resize(x.size());
  Doubles out(x.size());
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < width; ++c) {
      const double* parts = projected.data() + t * 3 * width;
      columns[t * width + c] = parts[c] * parts[2 * width + c];
      for (size_t k = 0; k < taps; ++k) {
        if (t + k + 1 < taps) continue;
        const size_t from = t + k + 1 - taps;
        out[t * width + c] += layer.taps.at(c * taps + k) * columns[from * width + c];
      }
      out[t * width + c] *= parts[width + c];
    }
  }
  return out;
}

Tensor slice(const Owned& owned, int64_t begin, int64_t end) {
  const int64_t width = owned.view().dim(1);
  return Tensor(owned.view().f32() + begin * width, DType::kF32, {end - begin, width});
}

class ShortConv : public testing::TestWithParam<Case> {};

TEST_P(ShortConv, MatchesTheReferenceAndLeavesTheLastColumns) {
  for (const int32_t length : {1, 2, 3, 30}) {
    Layer layer(GetParam());
    const Owned x = Owned::random(DType::kF32, {length, layer.width}, 9);
    CpuBackend backend(2);
    const Owned out =
        run(backend, layer, x.view(), Batch({.tokens = {length}, .past = {0}}, 8).view());
    Doubles columns;
    expect_close(out, reference_layer(layer, x.values(), columns));
    const int64_t kept = GetParam().taps - 1;
    for (int64_t k = 0; k < kept; ++k) {
      for (int64_t c = 0; c < layer.width; ++c) {
        const int64_t t = length - kept + k;
        const double want = t < 0 ? 0 : columns[t * layer.width + c];
        EXPECT_NEAR(layer.state.at((kept + k) * layer.width + c), want,
                    1e-4 * (1 + std::abs(want)));
      }
    }
  }
}

TEST_P(ShortConv, GivesTheSameBitsInChunksInBatchesAndWithAnyThreads) {
  constexpr int32_t kLength = 40;
  const Owned x = Owned::random(DType::kF32, {kLength, GetParam().width}, 9);
  const int64_t width = GetParam().width;
  CpuBackend one(1);
  Layer layer(GetParam());
  const Owned whole =
      run(one, layer, x.view(), Batch({.tokens = {kLength}, .past = {0}}, 8).view());
  for (const int threads : {1, 2, 3}) {
    CpuBackend backend(threads);
    Layer chunked(GetParam());
    int32_t past = 0;
    for (const int32_t chunk : {1, 1, 17, 2, 19}) {
      const Owned part = run(backend, chunked, slice(x, past, past + chunk),
                             Batch({.tokens = {chunk}, .past = {past}}, 8).view());
      EXPECT_EQ(
          0, std::memcmp(part.view().data, whole.view().f32() + past * width, part.view().bytes()));
      past += chunk;
    }
    EXPECT_EQ(0, std::memcmp(layer.state.view().f32(), chunked.state.view().f32(),
                             2 * width * (GetParam().taps - 1) * sizeof(float)));
  }
  Owned joined = Owned::random(DType::kF32, {kLength + 7, width}, 10);
  std::memcpy(joined.view().f32() + 4 * width, x.view().data, x.view().bytes());
  Layer batched(GetParam());
  const Owned out = run(one, batched, joined.view(),
                        Batch({.tokens = {4, kLength, 3}, .past = {0, 0, 0}}, 8).view());
  EXPECT_EQ(0, std::memcmp(out.view().f32() + 4 * width, whole.view().data, whole.view().bytes()));
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         ShortConv,
                         testing::Values(Case{DType::kF32, 24, 3},
                                         Case{DType::kBf16, 600, 3},
                                         Case{DType::kF16, 17, 2},
                                         Case{DType::kF32, 9, 4}));

TEST(ShortConvPadding, SharesTheSinkWithoutTouchingOtherSlots) {
  Layer layer({DType::kF32, 300, 3});
  const Owned x = Owned::random(DType::kF32, {3, 300}, 9);
  RaggedBatch batch = Batch({.tokens = {1, 1, 1}, .past = {0, 0, 0}}, 8).view();
  const std::vector<int32_t> token_start = {0, 1, 2, 3}, slot = {2, 0, 0}, position = {0, 0, 0};
  batch.row_start = token_start.data();
  batch.state_slot = slot.data();
  batch.position = position.data();
  CpuBackend backend(3);
  run(backend, layer, x.view(), batch);
  for (int64_t i = 600; i < 1200; ++i) EXPECT_TRUE(std::isnan(layer.state.at(i)));
  for (int64_t i = 1200; i < 1800; ++i) EXPECT_FALSE(std::isnan(layer.state.at(i)));
}

}  // namespace
}  // namespace switchyard
