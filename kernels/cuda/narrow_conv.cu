#include "kernels/cuda/narrow_conv.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow.h"

namespace switchyard::cuda {
namespace {

constexpr int kMostTaps = 4;

// A unit: 16 channels; its streams are the rows of in_proj for B, C and x.
struct ConvJob {
  static constexpr int kWarps = kNarrowWarps;
  static constexpr bool kLate = false, kJumps = false, kEnds = true;
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

  float* products;  // [units of the block][B * x, C][tokens][16], shared

  // What the batch says of a token.
  struct Token {
    int into_row;  // tokens of its row before it
    int in_row;    // tokens of its row
    int slot;      // of the row's state
    bool has_past;
  };
  // Of this thread's first output: what the batch says of the row that it is if all rows have one
  // token, and what that makes of it.
  int early_start, early_next, early_slot, early_position;
  Token early_token;
  float early_taps[kMostTaps];
  float early_past[kMostTaps - 1];

  // Of at least so many blocks.
  static int64_t shared_bytes(int64_t units, int64_t blocks, int64_t tokens) {
    return ceil_div(units, blocks) * 2 * tokens * kTileRows * 4;
  }
  // Outputs are counted through units, tokens and channels.
  __device__ int outputs() const { return units().count() * num_tokens * kTileRows; }
  __device__ int token_of(int output) const { return output / kTileRows % num_tokens; }
  __device__ int64_t channel_of(int output) const {
    return (units().first + output / kTileRows / num_tokens) * int64_t{kTileRows} +
           output % kTileRows;
  }
  __device__ Token look_up(int t) const {
    int row = 0;
    while (row_start[row + 1] <= t) ++row;
    const int first = row_start[row];
    return {t - first, row_start[row + 1] - first, state_slot[row], position[first] != 0};
  }
  // Column k of the past of a token's row; 0 is the oldest.
  __device__ float* past(const Token& token, int k, int64_t channel) const {
    return state + (int64_t{token.slot} * (num_taps - 1) + k) * channels + channel;
  }
  __device__ void choose() {}
  __device__ void prepare(char* shared) {
    products = reinterpret_cast<float*>(shared);
    const int i = threadIdx.x;
    if (i >= outputs()) return;
    const int row = min(token_of(i), num_rows - 1);
    early_start = row_start[row];
    early_next = row_start[row + 1];
    early_slot = state_slot[row];
    early_position = position[token_of(i)];
#pragma unroll
    for (int k = 0; k < kMostTaps; ++k) {
      if (k < num_taps) early_taps[k] = taps[channel_of(i) * num_taps + k];
    }
  }
  // Nothing in this step wrote the state, and who wrote it before has ended.
  __device__ void begin() {
    const int i = threadIdx.x;
    if (i >= outputs()) return;
    const int t = token_of(i);
    if (early_start == t && early_next > t) {
      early_token = {0, early_next - t, early_slot, early_position != 0};
    } else {
      early_token = look_up(t);
    }
#pragma unroll
    for (int k = 0; k < kMostTaps - 1; ++k) {
      early_past[k] =
          early_token.has_past && k + 1 < num_taps ? *past(early_token, k, channel_of(i)) : 0.0f;
    }
  }
  __device__ void expect(int) {}
  __device__ NarrowUnits units() const {
    return part_of_units(channel_tiles, blockIdx.x, gridDim.x);
  }
  __device__ int rows() const { return num_tokens; }
  __device__ const __nv_bfloat16* row(int m) const { return x + int64_t{m} * weights.cols; }
  __device__ StreamRef stream(int unit, int s) const {
    return {in_proj.data, in_proj.scale, unit + int64_t{s} * channel_tiles};
  }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums) const {
    float* u = products + (unit - units().first) * 2 * num_tokens * kTileRows;
#pragma unroll
    for (int n = 0; n < Sums::kTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int t = sums.token(n, j);
        if (t >= num_tokens) continue;
        const float factor = sums.factor(t);
        float* to = u + t * kTileRows + sums.row(j);
        to[0] = sums.value[0][n][j] * factor * (sums.value[2][n][j] * factor);
        to[num_tokens * kTileRows] = sums.value[1][n][j] * factor;
      }
    }
  }
  __device__ void end() const {
    const int all = outputs();
#pragma unroll 1
    for (int i = threadIdx.x; i < all; i += kWarps * 32) {
      const bool early = i == threadIdx.x;
      const int t = token_of(i);
      const Token token = early ? early_token : look_up(t);
      const int64_t channel = channel_of(i);
      const int unit = i / kTileRows / num_tokens;
      const float* u = products + (unit * 2 * num_tokens + t) * kTileRows + i % kTileRows;
      float mixed = 0;
#pragma unroll
      for (int k = 0; k < kMostTaps; ++k) {
        if (k >= num_taps) break;
        const int back = num_taps - 1 - k;  // tokens before this one
        float column;
        if (back <= token.into_row) {
          column = u[-back * kTileRows];
        } else {
          const int of_past = token.into_row + k;
          if (early) {  // no run-time index: these are registers
            column = of_past == 0 ? early_past[0] : of_past == 1 ? early_past[1] : early_past[2];
          } else {
            column = token.has_past ? *past(token, of_past, channel) : 0.0f;
          }
        }
        mixed += (early ? early_taps[k] : taps[channel * num_taps + k]) * column;
      }
      out[t * channels + channel] = __float2bfloat16_rn(u[num_tokens * kTileRows] * mixed);
    }
    __syncthreads();  // the past has been read
#pragma unroll 1
    for (int i = threadIdx.x; i < all; i += kWarps * 32) {
      const bool early = i == threadIdx.x;
      const int t = token_of(i);
      const Token token = early ? early_token : look_up(t);
      if (token.into_row > 0) continue;
      const int64_t channel = channel_of(i);
      const int unit = i / kTileRows / num_tokens;
      const float* u = products + (unit * 2 * num_tokens + t) * kTileRows + i % kTileRows;
#pragma unroll 1
      for (int k = 0; k + 1 < num_taps; ++k) {  // reads column k + in_row, not yet written
        const int from = k + token.in_row + 1 - num_taps;
        const int of_past = k + token.in_row;
        float column = 0;
        if (from >= 0) {
          column = u[from * kTileRows];
        } else if (early) {
          column = of_past == 1 ? early_past[1] : early_past[2];
        } else if (token.has_past) {
          column = *past(token, of_past, channel);
        }
        *past(token, k, channel) = column;
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
  with_scale_cols<kFormat>(args.in_proj.group, [&](auto cols) {
    launch_narrow(on, narrow_kernel<kFormat, 3, kTokenTiles, cols(), decltype(job)>, job,
                  narrow_shared<kFormat, 3, cols()>(
                      job.kWarps, channels, batch.num_tokens, job.gain != nullptr, kTokenTiles,
                      job.shared_bytes(job.channel_tiles, on.multiprocessors, batch.num_tokens)),
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
