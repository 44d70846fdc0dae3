// The gated short convolution: projection, then a walk over each row's tokens.
// Threads split the channels, not the rows: padding rows share state slot 0, and a channel of it
// must have one writer. The window of the last K columns of u lives in the state itself plus the
// token at hand, so a chunk boundary changes no operation.
#include "kernels/cpu/short_conv.h"

#include <algorithm>

#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"

namespace switchyard::cpu {
namespace {

struct Channels {
  int64_t begin = 0;
  int64_t end = 0;
};

void convolve_token(const ShortConvArgs& args, int64_t token, float* state, Channels channels) {
  const int64_t width = args.out.dim(1);
  const int64_t taps = args.taps.dim(1);
  const float* gate_in = args.projected_work.f32() + token * 3 * width;
  const float* gate_out = gate_in + width;
  const float* x = gate_out + width;
  float* out = args.out.f32() + token * width;
  for (int64_t channel = channels.begin; channel < channels.end; ++channel) {
    const float* tap = args.taps.f32() + channel * taps;
    float* column = state + channel;
    const float u = gate_in[channel] * x[channel];
    float sum = 0;
    for (int64_t k = 0; k + 1 < taps; ++k) {
      sum += tap[k] * column[k * width];
      column[k * width] = k + 2 < taps ? column[(k + 1) * width] : u;
    }
    out[channel] = gate_out[channel] * (sum + tap[taps - 1] * u);
  }
}

}  // namespace

void short_conv(ThreadPool& pool, const ShortConvArgs& args, const RaggedBatch& batch) {
  norm_input(pool, args.input);
  project(pool, {.x = args.input.rows(),
                 .weight = args.in_proj,
                 .out = args.projected_work.f32(),
                 .out_stride = args.in_proj.rows});

  const int64_t width = args.out.dim(1);
  const int64_t columns = args.state.dim(1);
  pool.parallel_for(width, 256, [&](int64_t begin, int64_t end) {
    for (int r = 0; r < batch.num_rows; ++r) {
      const int32_t slot = batch.state_slot[r];
      CHECK(slot >= 0 && slot < args.state.dim(0));
      float* state = args.state.f32() + slot * columns * width;
      const int32_t first = batch.row_start[r];
      if (first < batch.row_start[r + 1] && batch.position[first] == 0) {
        for (int64_t k = 0; k < columns; ++k) {
          std::fill(state + k * width + begin, state + k * width + end, 0.0f);
        }
      }
      for (int32_t t = first; t < batch.row_start[r + 1]; ++t) {
        convolve_token(args, t, state, {begin, end});
      }
    }
  });
}

}  // namespace switchyard::cpu
