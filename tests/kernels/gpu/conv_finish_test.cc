// What follows the projection of the short convolution: against the reference, with the state
// carried between steps, rows cut anywhere, and padding's shared slot.
#include "kernels/cuda/conv_finish.h"

#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::Batch;

struct Layer {
  Tensor taps, state;
  int64_t width, columns;
};

class ConvFinish : public Device {
 protected:
  Layer layer(int64_t width, int64_t taps, int64_t slots) {
    return {.taps = put(Owned::random(DType::kF32, {width, taps}, 3)),
            .state = poisoned(DType::kF32, {slots, taps - 1, width}),
            .width = width,
            .columns = taps - 1};
  }
  Owned run(const Layer& layer, const Tensor& work, const RaggedBatch& batch) {
    const Tensor out = poisoned(DType::kBf16, {batch.num_tokens, layer.width});
    backend().synchronize();
    cuda::conv_finish({.stream = nullptr},
                      {.out = out,
                       .input = {},
                       .in_proj = {},
                       .taps = layer.taps,
                       .state = layer.state,
                       .projected_work = work},
                      batch);
    CUDA_CHECK(cudaStreamSynchronize(nullptr));
    return get(out);
  }
  // The whole sequence at once; `columns` gets u, [tokens, width].
  Doubles reference_layer(const Layer& layer, const Owned& work, Doubles& columns) {
    const Owned taps = get(layer.taps);
    const int64_t width = layer.width;
    const int64_t count = layer.columns + 1;
    const int64_t tokens = work.view().dim(0);
    columns.assign(static_cast<size_t>(tokens * width), 0);
    Doubles out(columns.size());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t c = 0; c < width; ++c) {
        const int64_t parts = t * 3 * width + c;
        columns[t * width + c] = work.at(parts) * work.at(parts + 2 * width);
        double sum = 0;
        for (int64_t k = 0; k < count; ++k) {
          const int64_t from = t - (count - 1) + k;
          if (from >= 0) sum += taps.at(c * count + k) * columns[from * width + c];
        }
        out[t * width + c] = work.at(parts + width) * sum;
      }
    }
    return out;
  }
  void expect_state(const Layer& layer, int64_t slot, const Doubles& columns, int64_t tokens) {
    const Owned state = get(layer.state);
    for (int64_t k = 0; k < layer.columns; ++k) {
      for (int64_t c = 0; c < layer.width; ++c) {
        const int64_t t = tokens - layer.columns + k;
        const double want = t < 0 ? 0 : columns[t * layer.width + c];
        ASSERT_NEAR(state.at((slot * layer.columns + k) * layer.width + c), want,
                    1e-6 * (1 + std::abs(want)));
      }
    }
  }
};

TEST_F(ConvFinish, MatchesTheReferenceAndLeavesTheLastColumns) {
  for (const int64_t width : {9, 24, 72, 1040}) {
    for (int64_t taps = 2; taps <= 8; ++taps) {
      for (const int32_t length : {1, 2, 3, 30, 700}) {  // 700: many tokens to a block
        SCOPED_TRACE(std::to_string(width) + " x " + std::to_string(taps) + ", " +
                     std::to_string(length) + " tokens");
        const Layer test = layer(width, taps, 3);
        const Owned work = Owned::random(DType::kBf16, {length, 3 * width}, 9);
        const Owned out =
            run(test, put(work), put(Batch({.tokens = {length}, .past = {0}}, 16).view()));
        Doubles columns;
        reference::expect_close(out, reference_layer(test, work, columns), kBf16Tolerance);
        expect_state(test, 1, columns, length);
      }
    }
  }
}

// One sequence in steps, whole or cut; beside it rows whose lengths move the borders of blocks.
TEST_F(ConvFinish, GivesTheSameBitsInChunksAndInBatches) {
  for (const int64_t width : {17, 64}) {
    for (const int64_t taps : {2, 3, 4, 8}) {
      constexpr int32_t kLength = 640;
      const Owned work = Owned::random(DType::kBf16, {kLength, 3 * width}, 9);
      const Layer whole = layer(width, taps, 3);
      const Owned want =
          run(whole, put(work), put(Batch({.tokens = {kLength}, .past = {0}}, 16).view()));
      const Owned want_state = get(whole.state);
      for (const std::vector<int32_t>& chunks :
           {std::vector<int32_t>{1, 1, 1, 2, 600, 3, 32}, {17, 15, 520, 1, 87}, {639, 1}}) {
        for (const int32_t beside : {0, 600, 607, 613}) {  // with rows beside: 16 tokens a block
          const Layer cut = layer(width, taps, 8);
          int32_t past = 0;
          for (const int32_t chunk : chunks) {
            // The row itself is the last, behind one-token rows, a long one and an empty one.
            reference::Rows rows = {.tokens = {1, 2, beside, 0, chunk}, .past = {0, 5, 9, 4, past}};
            if (beside == 0) rows = {.tokens = {chunk}, .past = {past}};
            const int32_t before = beside == 0 ? 0 : 3 + beside;
            Owned joined = Owned::random(DType::kBf16, {before + chunk, 3 * width}, 10);
            std::memcpy(static_cast<char*>(joined.view().data) + before * 3 * width * 2,
                        static_cast<char*>(work.view().data) + past * 3 * width * 2,
                        chunk * 3 * width * 2);
            const Batch kept(rows, 64);
            RaggedBatch batch = kept.view();
            std::vector<int32_t> slots;
            for (int r = 0; r + 1 < batch.num_rows; ++r) slots.push_back(r + 2);
            slots.push_back(1);
            batch.state_slot = slots.data();
            const Owned out = run(cut, put(joined), put(batch));
            ASSERT_EQ(0, std::memcmp(static_cast<char*>(out.view().data) + before * width * 2,
                                     static_cast<char*>(want.view().data) + past * width * 2,
                                     chunk * width * 2))
                << "taps " << taps << ", width " << width << ", beside " << beside << ", at "
                << past;
            past += chunk;
          }
          const Owned state = get(cut.state);
          const int64_t slot = (taps - 1) * width;
          EXPECT_EQ(0, std::memcmp(state.view().f32() + slot, want_state.view().f32() + slot,
                                   slot * sizeof(float)));
        }
      }
    }
  }
}

TEST_F(ConvFinish, LetsPaddingShareTheSink) {
  const Layer test = layer(300, 3, 4);
  const Batch kept({.tokens = {1, 1, 1}, .past = {0, 0, 0}}, 8);
  RaggedBatch batch = kept.view();
  const std::vector<int32_t> slot = {2, 0, 0};
  batch.state_slot = slot.data();
  run(test, put(Owned::random(DType::kBf16, {3, 900}, 9)), put(batch));
  const Owned state = get(test.state);
  for (int64_t i = 600; i < 2400; ++i) {
    EXPECT_EQ(std::isnan(state.at(i)), i / 600 != 2) << i;
  }
}

}  // namespace
}  // namespace switchyard::gpu
