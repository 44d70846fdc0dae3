// A thread adds up eight channels of one token. bytes: 2 * T * H * (K + 2).
#include "kernels/cuda/combine.h"

#include "kernels/cuda/bf16_vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 128;

struct Sums {
  __nv_bfloat16* out;  // may be `residual`
  const __nv_bfloat16* residual;
  const __nv_bfloat16* work;
  const float* weight;
  const int32_t* expert;
  int64_t width;
  int top_k;
};

// kAtOnce products are under way together.
template <int kCount, int kAtOnce>
__global__ void __launch_bounds__(kThreads) combine(Sums args) {
  using Vector = Channels<kCount>;
  let_next_start();
  wait_for_previous();
  const int64_t token = blockIdx.x;
  const int64_t channel = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kCount;
  if (channel >= args.width) return;
  const __nv_bfloat16* work = args.work + token * args.top_k * args.width + channel;
  const float* weight = args.weight + token * args.top_k;
  const bool padding = args.expert[token * args.top_k] < 0;
  float sum[kCount], value[kCount];
  Vector::widen(Vector::load(args.residual + token * args.width + channel), sum);
  for (int k = 0; k < args.top_k; k += kAtOnce) {
    typename Vector::Raw raw[kAtOnce];
    float by[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int from = min(k + i, args.top_k - 1);
      raw[i] = Vector::load(work + from * args.width);
      by[i] = weight[from];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (k + i >= args.top_k) break;
      Vector::widen(raw[i], value);
#pragma unroll
      for (int j = 0; j < kCount; ++j) sum[j] += by[i] * value[j];
    }
  }
  if (!padding) Vector::store(args.out + token * args.width + channel, sum);
}

}  // namespace

void combine_experts(const Stream& on, const ExpertDownArgs& args) {
  const Sums sums = {static_cast<__nv_bfloat16*>(args.out.data),
                     static_cast<const __nv_bfloat16*>(args.residual.data),
                     static_cast<const __nv_bfloat16*>(args.expert_work.data),
                     args.routing.weight.f32(),
                     args.routing.expert.i32(),
                     args.out.dim(1),
                     static_cast<int>(args.routing.expert.dim(1))};
  const bool eights = in_eights(sums.width, {sums.out, sums.residual, sums.work});
  const int64_t across = ceil_div(eights ? sums.width / 8 : sums.width, kThreads);
  const dim3 grid(static_cast<unsigned>(args.out.dim(0)), static_cast<unsigned>(across));
  launch(on, eights ? combine<8, 4> : combine<1, 4>, grid, kThreads, 0, sums);
}

}  // namespace switchyard::cuda
