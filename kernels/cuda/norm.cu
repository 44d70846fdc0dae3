// One block norms one row: a pass for the sum of squares, one to scale (from L1).
// bytes: 4 * N * H + 4 * H.
#include "kernels/cuda/norm.h"

#include "kernels/cuda/bf16_vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

template <int kCount>
__global__ void __launch_bounds__(kThreads) norm_rows(const __nv_bfloat16* x,
                                                      const float* gain,
                                                      float epsilon,
                                                      const int32_t* gather,
                                                      int64_t width,
                                                      __nv_bfloat16* normed) {
  using Vector = Channels<kCount>;
  __shared__ float of_warp[kThreads / 32];
  let_next_start();
  wait_for_previous();
  const int64_t from = gather != nullptr ? gather[blockIdx.x] : blockIdx.x;
  const __nv_bfloat16* row = x + from * width;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  float squares = 0;
  float value[kCount];
  for (int64_t i = begin; i < width; i += kThreads * kCount) {
    Vector::widen(Vector::load(row + i), value);
#pragma unroll
    for (int j = 0; j < kCount; ++j) squares += value[j] * value[j];
  }
  squares = sum_of_warp(squares);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = squares;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) total += of_warp[w];
  const float scale = rsqrtf(total / static_cast<float>(width) + epsilon);
  float by[kCount];
  for (int64_t i = begin; i < width; i += kThreads * kCount) {
    Vector::widen(Vector::load(row + i), value);
    Vector::load(gain + i, by);
#pragma unroll
    for (int j = 0; j < kCount; ++j) value[j] = value[j] * scale * by[j];
    Vector::store(normed + blockIdx.x * width + i, value);
  }
}

}  // namespace

void norm_input(const Stream& on, const NormedInput& input) {
  if (input.gain.empty()) return;
  const auto* x = static_cast<const __nv_bfloat16*>(input.x.data);
  auto* normed = static_cast<__nv_bfloat16*>(input.normed.data);
  const int64_t width = input.x.dim(1);
  const auto blocks = static_cast<unsigned>(input.normed.dim(0));
  auto* kernel = in_eights(width, {x, normed, input.gain.data}) ? norm_rows<8> : norm_rows<1>;
  launch(on, kernel, blocks, kThreads, 0, x, input.gain.f32(), input.epsilon, input.gather, width,
         normed);
}

}  // namespace switchyard::cuda
