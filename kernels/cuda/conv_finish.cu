// A block takes some channels of a chunk of tokens and walks the tokens with the last columns of u
// in registers. The first K-1 tokens of a row belong to the chunk where the row starts, even past
// its end: so one thread per channel reads the row's old state, and that same thread then writes
// the new one, whose columns it computes from the row's last tokens itself.
// bytes: 8 * T * H + 8 * R * (K-1) * H.
#include "kernels/cuda/conv_finish.h"

#include "kernels/cuda/bf16_vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 64;

struct Convolution {
  __nv_bfloat16* out;
  const __nv_bfloat16* work;
  const float* taps;
  float* state;
  int64_t width;
  int tokens, rows, chunk;
  const int32_t* position;
  const int32_t* row_start;
  const int32_t* state_slot;
};

// The row that holds `token`: the last that starts at or before it. All threads of the block call.
__device__ int row_of(const int32_t* row_start, int rows, int token) {
  // Of rows of one token each, found without a search.
  if (token < rows && row_start[token] == token && row_start[token + 1] > token) return token;
  int before = 0;
  for (int first = 0; first < rows; first += kThreads) {
    const int r = first + static_cast<int>(threadIdx.x);
    before += __syncthreads_count(r < rows && row_start[r] <= token);
  }
  return max(before - 1, 0);
}

template <int kTaps, int kCount>
__global__ void __launch_bounds__(kThreads) convolve(Convolution args) {
  using Vector = Channels<kCount>;
  constexpr int kPast = kTaps - 1;
  const int64_t width = args.width;
  const int64_t wanted = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  const bool idle = wanted >= width;
  const int64_t channel = idle ? 0 : wanted;
  let_next_start();
  float tap[kTaps][kCount];
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
#pragma unroll
    for (int k = 0; k < kTaps; ++k) tap[k][c] = __ldg(args.taps + (channel + c) * kTaps + k);
  }
  const int begin = static_cast<int>(blockIdx.y) * args.chunk;
  const int end = min(begin + args.chunk, args.tokens);
  int row = row_of(args.row_start, args.rows, begin);
  int first, row_end;  // of the row
  float* state;
  bool fresh;
  const auto enter_row = [&] {
    first = args.row_start[row];
    row_end = args.row_start[row + 1];
    state = args.state + int64_t{args.state_slot[row]} * kPast * width + channel;
    fresh = first < args.tokens && args.position[first] == 0;
  };
  enter_row();
  wait_for_previous();
  if (idle) return;

  const auto column = [&](int token, float(&u)[kCount]) {
    const __nv_bfloat16* parts = args.work + int64_t{token} * 3 * width + channel;
    float x[kCount];
    const auto raw_b = Vector::load(parts);
    const auto raw_x = Vector::load(parts + 2 * width);
    Vector::widen(raw_b, u);
    Vector::widen(raw_x, x);
#pragma unroll
    for (int c = 0; c < kCount; ++c) u[c] *= x[c];
  };

  float past[kPast][kCount];  // oldest first
  // The chunk that a row started in goes on through its first K-1 tokens.
  int token = begin == first ? begin : max(begin, min(first + kPast, row_end));
  if (token != first && token < row_end) {
#pragma unroll
    for (int k = 0; k < kPast; ++k) column(token - kPast + k, past[k]);
  }
  while (token < end || (token < row_end && token < first + kPast && token > first)) {
    if (token >= row_end) {
      if (row + 1 >= args.rows) return;
      ++row;
      enter_row();
      continue;
    }
    // All that is read of the token before anything is written, which might be the same memory.
    float u[kCount], gate[kCount], sum[kCount] = {};
    column(token, u);
    Vector::widen(Vector::load(args.work + (int64_t{token} * 3 + 1) * width + channel), gate);
    if (token == first) {
#pragma unroll
      for (int k = 0; k < kPast; ++k) {
        Vector::load(state + k * width, past[k]);
#pragma unroll
        for (int c = 0; c < kCount; ++c) past[k][c] = fresh ? 0.0f : past[k][c];
      }
      const int count = row_end - first;
#pragma unroll
      for (int k = 0; k < kPast; ++k) {
        float kept[kCount];
        if (count + k >= kPast) {
          column(row_end - kPast + k, kept);
        } else {
#pragma unroll
          for (int c = 0; c < kCount; ++c) kept[c] = 0;
#pragma unroll
          for (int j = 0; j < kPast; ++j) {  // past[count + k], by a fixed index
#pragma unroll
            for (int c = 0; c < kCount; ++c) kept[c] = j == count + k ? past[j][c] : kept[c];
          }
        }
        Vector::store(state + k * width, kept);
      }
    }
#pragma unroll
    for (int k = 0; k < kPast; ++k) {
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        sum[c] += tap[k][c] * past[k][c];
        past[k][c] = k + 1 < kPast ? past[k + 1 < kPast ? k + 1 : k][c] : u[c];
      }
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) sum[c] = gate[c] * (sum[c] + tap[kPast][c] * u[c]);
    Vector::store(args.out + int64_t{token} * width + channel, sum);
    ++token;
  }
}

template <int kTaps>
void convolve_with(const Stream& on, const Convolution& args, bool eights) {
  const int64_t across = ceil_div(eights ? args.width / 8 : args.width, kThreads);
  const dim3 grid(static_cast<unsigned>(across),
                  static_cast<unsigned>(ceil_div(args.tokens, args.chunk)));
  launch(on, eights ? convolve<kTaps, 8> : convolve<kTaps, 1>, grid, kThreads, 0, args);
}

}  // namespace

void conv_finish(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  Convolution convolution = {static_cast<__nv_bfloat16*>(args.out.data),
                             static_cast<const __nv_bfloat16*>(args.projected_work.data),
                             args.taps.f32(),
                             args.state.f32(),
                             args.out.dim(1),
                             batch.num_tokens,
                             batch.num_rows,
                             1,
                             batch.position,
                             batch.row_start,
                             batch.state_slot};
  // A token alone starts soonest; many tokens share the reading of taps and past columns.
  if (batch.num_tokens > 512) convolution.chunk = 16;
  const bool eights =
      in_eights(convolution.width, {convolution.out, convolution.work, convolution.state});
  switch (args.taps.dim(1)) {
    case 2:
      return convolve_with<2>(on, convolution, eights);
    case 3:
      return convolve_with<3>(on, convolution, eights);
    case 4:
      return convolve_with<4>(on, convolution, eights);
    case 5:
      return convolve_with<5>(on, convolution, eights);
    case 6:
      return convolve_with<6>(on, convolution, eights);
    case 7:
      return convolve_with<7>(on, convolution, eights);
    case kMaxConvTaps:
      return convolve_with<kMaxConvTaps>(on, convolution, eights);
    default:
      CHECK(false);  // the loader refuses such a model
  }
}

}  // namespace switchyard::cuda
