// The whole of expert_down for few tokens: each reads its own experts.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow_experts.cuh"
#include "kernels/cuda/narrow_experts.h"

namespace switchyard::cuda {
namespace {

// A unit: a row tile of one token's experts, one stream each; row k of x is the hidden row of the
// k-th expert. blockIdx = (share of the row tiles, token). Where the router has ended before this
// kernel starts, the experts' weights are fetched before it waits for their hidden rows.
template <int kStreams, bool kRouted>
struct TokenDownJob {
  static constexpr int kWarps = kNarrowWarps;
  static constexpr bool kLate = !kRouted, kJumps = false, kEnds = false;
  NarrowWeights weights;
  const __nv_bfloat16* hidden;
  const int32_t* expert;
  const float* weight;
  int top_k;
  Experts matrix;
  int row_tiles;
  int64_t out_rows;
  __nv_bfloat16* out;
  const __nv_bfloat16* residual;
  const float* gain = nullptr;
  float epsilon = 0;

  int experts;
  bool live;  // not padding
  Experts::Kept kept;
  StreamRef ref[kStreams];

  // The weights of the streams of which this lane has the sums that count, column s of stream s; 0
  // of the others. And the residual of its two rows.
  float early_weight[kStreams];
  __nv_bfloat16 early_residual[2];

  __device__ void choose() {
    kept = matrix.keep(experts);
    look_up_experts();
  }
  __device__ void prepare(char*) {
    if constexpr (kLate) kept = matrix.keep(experts);
  }
  __device__ void begin() {
    if constexpr (kLate) look_up_experts();
  }
  // Around the first level of the cache, which may have what was there before the router.
  __device__ void look_up_experts() {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const int chosen = __ldcg(expert + blockIdx.y * top_k + min(s, top_k - 1));
      live = chosen >= 0;
      ref[s] = matrix.of(max(chosen, 0), kept);
    }
  }
  __device__ int64_t output_of(int unit, int j) const {
    return int64_t{unit} * kTileRows + threadIdx.x % 32 / 4 + j * 8;
  }
  __device__ void expect(int unit) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const bool mine = static_cast<int>(threadIdx.x % 4) == s / 2 && s < top_k;
      early_weight[s] = mine ? weight[blockIdx.y * top_k + s] : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int64_t output = output_of(unit, j);
      if (output < out_rows) early_residual[j] = residual[blockIdx.y * out_rows + output];
    }
  }
  __device__ NarrowUnits units() const {
    return live ? part_of_units(row_tiles, blockIdx.x, gridDim.x) : NarrowUnits{0, 0};
  }
  __device__ int rows() const { return top_k; }
  __device__ const __nv_bfloat16* row(int m) const {
    return hidden + int64_t{static_cast<int>(blockIdx.y) * top_k + m} * weights.cols;
  }
  __device__ StreamRef stream(int unit, int s) const { return {ref[s].data, ref[s].scale, unit}; }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float total = 0;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        total += early_weight[s] * sums.value[s][0][j * 2 + s % 2];
      }
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      const int64_t output = output_of(unit, j);
      if (threadIdx.x % 4 != 0 || output >= out_rows) continue;
      out[blockIdx.y * out_rows + output] =
          __float2bfloat16_rn(__bfloat162float(early_residual[j]) + total);
    }
  }
};

template <WeightFormat kFormat, int kStreams, bool kRouted>
void run_token_down(const Stream& on, const ExpertDownArgs& args) {
  using Job = TokenDownJob<kStreams, kRouted>;
  Job job{};
  job.weights = narrow_weights(args.down.cols, args.down.group);
  job.hidden = static_cast<const __nv_bfloat16*>(args.hidden.data);
  job.expert = args.routing.expert.i32();
  job.weight = args.routing.weight.f32();
  job.top_k = static_cast<int>(args.routing.expert.dim(1));
  job.matrix = {args.down.data, args.down.scale};
  job.row_tiles = static_cast<int>(row_tiles(args.down.rows));
  job.out_rows = args.down.rows;
  job.out = static_cast<__nv_bfloat16*>(args.out.data);
  job.residual = static_cast<const __nv_bfloat16*>(args.residual.data);
  job.experts = static_cast<int>(args.down.experts);
  const int64_t tokens = args.out.dim(0);
  with_scale_cols<kFormat>(args.down.group, [&](auto cols) {
    const auto kernel = narrow_kernel<kFormat, kStreams, 1, cols(), Job>;
    const NarrowShared shared = narrow_shared<kFormat, kStreams, cols()>(job.kWarps, args.down.cols,
                                                                         job.top_k, false, 1, 0);
    const int64_t across = std::clamp<int64_t>(on.multiprocessors / tokens, 1, job.row_tiles);
    launch_alone(on, kernel, job, shared,
                 dim3(static_cast<unsigned>(across), static_cast<unsigned>(tokens)));
  });
}

}  // namespace

void narrow_expert_down_of_each_token(const Stream& on, const ExpertDownArgs& args, bool routed) {
  const int64_t top_k = args.routing.expert.dim(1);
  CHECK(top_k <= 8);
  with_format(args.down.format, [&](auto format) {
    const auto run = [&](auto streams) {
      routed ? run_token_down<format(), streams(), true>(on, args)
             : run_token_down<format(), streams(), false>(on, args);
    };
    if (top_k <= 2) {
      run(std::integral_constant<int, 2>());
    } else if (top_k <= 4) {
      run(std::integral_constant<int, 4>());
    } else {
      run(std::integral_constant<int, 8>());
    }
  });
}

}  // namespace switchyard::cuda
