#include "kernels/cuda/narrow_conv.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow.h"

namespace switchyard::cuda {
namespace {

constexpr int kMostTaps = 4;

// Of each warp's unit: the products B * x, and C.
struct ConvShared {
  float u[kNarrowWarps][kNarrowMaxRows][kTileRows];
  float c[kNarrowWarps][kNarrowMaxRows][kTileRows];
};

// A unit: 16 channels; its streams are the rows of in_proj for B, C and x.
template <int kTokenTiles>
struct ConvJob {
  static constexpr int kWarps = kNarrowWarps;
  static constexpr bool kLate = false, kJumps = false;
  static constexpr int kOutputs = kTokenTiles * 4;  // of a lane: one channel, every second token
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

  ConvShared* products;
  // What the batch says of this lane's tokens, in registers.
  struct Token {
    int into_row;  // tokens of the row before it
    int in_row;    // tokens of the row
    int slot;      // of the row's state; -1: it has no past
  };
  Token token[kOutputs];
  float early_taps[kMostTaps];  // of this lane's channel, and the past of its tokens
  float early_past[kOutputs][kMostTaps - 1];

  __device__ static int token_of(int i) { return i * 2 + threadIdx.x % 32 / kTileRows; }
  __device__ void begin() {}
  __device__ void prepare(char* shared) {
    products = reinterpret_cast<ConvShared*>(shared);
    int row = 0;
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      const int t = token_of(i);
      if (t >= num_tokens) break;
      while (row_start[row + 1] <= t) ++row;
      const int first = row_start[row];
      token[i] = {.into_row = t - first,
                  .in_row = row_start[row + 1] - first,
                  .slot = position[first] != 0 ? state_slot[row] : ~state_slot[row]};
    }
  }
  __device__ NarrowUnits units() const {
    return part_of_units(channel_tiles, blockIdx.x, gridDim.x);
  }
  __device__ int rows() const { return num_tokens; }
  __device__ const __nv_bfloat16* row(int m) const { return x + int64_t{m} * weights.cols; }
  __device__ StreamRef stream(int unit, int s) const {
    return {in_proj.data, in_proj.scale, unit + int64_t{s} * channel_tiles};
  }
  __device__ float* past_of(const Token& of, int64_t channel) const {
    const int slot = of.slot < 0 ? ~of.slot : of.slot;
    return state + int64_t{slot} * (num_taps - 1) * channels + channel;
  }
  // Nothing in this step wrote the state, and who wrote it before has ended.
  __device__ void expect(int unit) {
    const int64_t channel = int64_t{unit} * kTileRows + threadIdx.x % kTileRows;
#pragma unroll
    for (int k = 0; k < kMostTaps; ++k) {
      early_taps[k] = k < num_taps ? taps[channel * num_taps + k] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      if (token_of(i) >= num_tokens) break;
      const float* past = past_of(token[i], channel);
#pragma unroll
      for (int k = 0; k < kMostTaps - 1; ++k) {
        early_past[i][k] = token[i].slot >= 0 && k + 1 < num_taps ? past[k * channels] : 0.0f;
      }
    }
  }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums) const {
    const int warp = threadIdx.x / 32;
    const int c = threadIdx.x % kTileRows;
    const int64_t channel = int64_t{unit} * kTileRows + c;
    auto& u = products->u[warp];
    __syncwarp();
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int t = sums.token(n, j);
        if (t >= num_tokens) continue;
        const float factor = sums.factor(t);
        u[t][sums.row(j)] = sums.value[0][n][j] * factor * (sums.value[2][n][j] * factor);
        products->c[warp][t][sums.row(j)] = sums.value[1][n][j] * factor;
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      const int t = token_of(i);
      if (t >= num_tokens) break;
      const int into_row = token[i].into_row;
      // Column k of this token's window: of the row's past or of its tokens.
      const auto column = [&](int k) {
        const int from = into_row + k + 1 - num_taps;
        if (from >= 0) return u[t - into_row + from][c];
        const int back = num_taps - 1 + from;  // 0 is the oldest
        return back == 0 ? early_past[i][0] : back == 1 ? early_past[i][1] : early_past[i][2];
      };
      float mixed = 0;
#pragma unroll
      for (int k = 0; k < kMostTaps; ++k) {
        if (k < num_taps) mixed += early_taps[k] * column(k);
      }
      out[t * channels + channel] = __float2bfloat16_rn(products->c[warp][t][c] * mixed);
      // The row's first token leaves the columns that its last one is followed by.
      if (into_row > 0) continue;
      float* past = past_of(token[i], channel);
#pragma unroll
      for (int k = 0; k < kMostTaps - 1; ++k) {
        if (k + 1 < num_taps) past[k * channels] = column(k + token[i].in_row);
      }
    }
  }
};

template <WeightFormat kFormat, int kTokenTiles>
void run(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  const int64_t channels = args.out.dim(1);
  ConvJob<kTokenTiles> job{};
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
  with_scale_cols<kFormat>(args.in_proj.group, [&](auto cols) {
    launch_narrow(
        on, narrow_kernel<kFormat, 3, kTokenTiles, cols(), decltype(job)>, job,
        narrow_shared<kFormat, 3, cols()>(job.kWarps, channels, batch.num_tokens,
                                          job.gain != nullptr, kTokenTiles, sizeof(ConvShared)),
        job.channel_tiles);
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
