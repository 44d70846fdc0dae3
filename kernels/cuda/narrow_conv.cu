#include "kernels/cuda/narrow_conv.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow.h"

namespace switchyard::cuda {
namespace {

constexpr int kMostTaps = 4;

// What the epilogue needs of the batch, by token, and the products B * x.
struct ConvShared {
  float u[kNarrowWarps][kNarrowMaxRows][kTileRows];  // of each group of warps
  int first[kNarrowMaxRows];                         // token of the row that the token is of
  int slot[kNarrowMaxRows];
  int tokens[kNarrowMaxRows];  // of the row; 0: not its first token
  bool fresh[kNarrowMaxRows];  // the row has no past
};

// A unit: 16 channels; its streams are the rows of in_proj for B, C and x.
struct ConvJob {
  static constexpr bool kLate = false;
  NarrowWeights weights;
  const __nv_bfloat16* x;
  int num_tokens;
  const float* gain;
  float epsilon;
  StreamRef in_proj;
  int channel_tiles;
  int64_t channels;
  const float* taps;
  int num_taps;
  float* state;
  __nv_bfloat16* out;
  const int32_t* row_start;
  const int32_t* position;
  const int32_t* state_slot;
  int num_rows;

  ConvShared* of_batch;
  float early_taps[kMostTaps];  // of this thread's first channel, and the past of its first token
  float early_past[kMostTaps - 1];

  __device__ void begin() {}
  __device__ void prepare(char* shared, const NarrowGroup&) {
    of_batch = reinterpret_cast<ConvShared*>(shared);
    const int r = threadIdx.x;
    if (r >= num_rows) return;
    const int begin = row_start[r];
    const int end = row_start[r + 1];
#pragma unroll 1
    for (int t = begin; t < end; ++t) {
      of_batch->first[t] = begin;
      of_batch->slot[t] = state_slot[r];
      of_batch->tokens[t] = t == begin ? end - begin : 0;
      of_batch->fresh[t] = position[begin] == 0;
    }
  }
  __device__ int units() const { return channel_tiles; }
  __device__ int rows() const { return num_tokens; }
  __device__ const __nv_bfloat16* row(int m) const { return x + int64_t{m} * weights.cols; }
  __device__ StreamRef stream(int unit, int s) const {
    return {in_proj.data, in_proj.scale, unit + int64_t{s} * channel_tiles};
  }
  // Column i of the past of token t's row: 0 is the oldest.
  __device__ float past(int t, int i, int64_t channel, bool early) const {
    if (early) {  // no run-time index: these are registers
      return i == 0 ? early_past[0] : i == 1 ? early_past[1] : early_past[2];
    }
    if (of_batch->fresh[t]) return 0;
    return state[(int64_t{of_batch->slot[t]} * (num_taps - 1) + i) * channels + channel];
  }
  // Nothing in this step wrote the state, and who wrote it before has ended.
  __device__ void expect(int unit, const NarrowGroup& group) {
    const int t = group.thread() / kTileRows;
    const int64_t channel = int64_t{unit} * kTileRows + group.thread() % kTileRows;
    if (t >= num_tokens) return;
    int row = 0;
    while (row_start[row + 1] <= t) ++row;
    const bool has_past = position[row_start[row]] != 0;
#pragma unroll
    for (int k = 0; k < kMostTaps; ++k) {
      early_taps[k] = k < num_taps ? taps[channel * num_taps + k] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kMostTaps - 1; ++k) {
      early_past[k] =
          has_past && k + 1 < num_taps
              ? state[(int64_t{state_slot[row]} * (num_taps - 1) + k) * channels + channel]
              : 0.0f;
    }
  }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums, const NarrowGroup& group) const {
    const int64_t first_channel = int64_t{unit} * kTileRows;
    const int all = kTileRows * num_tokens;
    auto& u = of_batch->u[group.index()];
#pragma unroll 1
    for (int i = group.thread(); i < all; i += group.threads()) {
      const int c = i % kTileRows;
      const int t = i / kTileRows;
      const float factor = sums.factor(t);
      u[t][c] = sums.at(0, c, t) * factor * (sums.at(2, c, t) * factor);
    }
    group.sync();
#pragma unroll 1
    for (int i = group.thread(); i < all; i += group.threads()) {
      const int c = i % kTileRows;
      const int t = i / kTileRows;
      const int64_t channel = first_channel + c;
      const bool early = i == group.thread();
      const int into_row = t - of_batch->first[t];
      float mixed = 0;
#pragma unroll
      for (int k = 0; k < kMostTaps; ++k) {
        if (k >= num_taps) break;
        const float column = into_row + k + 1 >= num_taps ? u[t + k + 1 - num_taps][c]
                                                          : past(t, into_row + k, channel, early);
        mixed += (early ? early_taps[k] : taps[channel * num_taps + k]) * column;
      }
      out[t * channels + channel] = __float2bfloat16_rn(sums.at(1, c, t) * sums.factor(t) * mixed);
    }
    group.sync();  // the past has been read
#pragma unroll 1
    for (int i = group.thread(); i < all; i += group.threads()) {
      const int c = i % kTileRows;
      const int t = i / kTileRows;
      const int tokens = of_batch->tokens[t];
      if (tokens == 0) continue;
      const int64_t channel = first_channel + c;
#pragma unroll 1
      for (int j = 0; j + 1 < num_taps; ++j) {  // reads column j + tokens, not yet written
        const int from = j + tokens + 1 - num_taps;
        state[(int64_t{of_batch->slot[t]} * (num_taps - 1) + j) * channels + channel] =
            from >= 0 ? u[t + from][c] : past(t, j + tokens, channel, i == group.thread());
      }
    }
  }
};

template <WeightFormat kFormat, int kTokenTiles>
void run(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  const int64_t channels = args.out.dim(1);
  ConvJob job{};
  job.weights = narrow_weights(channels, args.in_proj.group);
  job.x = static_cast<const __nv_bfloat16*>(args.input.x.data);
  job.num_tokens = batch.num_tokens;
  job.gain = args.input.gain.empty() ? nullptr : args.input.gain.f32();
  job.epsilon = args.input.epsilon;
  job.in_proj = {static_cast<const char*>(args.in_proj.data), args.in_proj.scale, 0};
  job.channel_tiles = static_cast<int>(channels / kTileRows);
  job.channels = channels;
  job.taps = args.taps.f32();
  job.num_taps = static_cast<int>(args.taps.dim(1));
  job.state = args.state.f32();
  job.out = static_cast<__nv_bfloat16*>(args.out.data);
  job.row_start = batch.row_start;
  job.position = batch.position;
  job.state_slot = batch.state_slot;
  job.num_rows = batch.num_rows;
  with_scale_cols<kFormat>(args.in_proj.group, job.weights.k_tiles, [&](auto cols, int items) {
    const auto kernel = narrow_kernel<kFormat, 3, kTokenTiles, cols(), ConvJob>;
    const NarrowShared shared = narrow_shared<kFormat, 3, cols()>(channels, batch.num_tokens,
                                                                  kTokenTiles, sizeof(ConvShared));
    const int64_t resident = resident_blocks(on, kernel, shared.bytes());
    const NarrowGroup group = narrow_group(job.channel_tiles, items, resident);
    const int64_t blocks =
        std::min(resident, ceil_div(job.channel_tiles, kNarrowWarps / group.warps));
    launch(on, kernel, static_cast<unsigned>(blocks), kNarrowThreads, shared.bytes(), job, shared,
           group);
  });
}

}  // namespace

bool conv_is_narrow(const Stream& on, const ShortConvArgs& args) {
  return args.out.dim(1) % kTileRows == 0 && args.taps.dim(1) <= kMostTaps &&
         args.input.gather == nullptr && args.out.dim(0) <= narrow_rows(on, args.in_proj.cols);
}

void narrow_conv(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  with_format(args.in_proj.format, [&](auto format) {
    with_token_tiles(batch.num_tokens,
                     [&](auto tiles) { run<format(), tiles()>(on, args, batch); });
  });
}

}  // namespace switchyard::cuda
