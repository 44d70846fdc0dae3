// Plain and gated products with few rows.
#include "kernels/cuda/narrow.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"

namespace switchyard::cuda {
namespace {

// Both forms; with two streams the second is the other factor of the gate.
template <int kStreams, int kTokenTiles>
struct ProductJob {
  static constexpr int kWarps = kNarrowWarps;
  static constexpr bool kLate = false, kJumps = false, kEnds = false;
  NarrowWeights weights;
  const __nv_bfloat16* x;
  const int32_t* gather;  // null: rows are x's own
  int num_rows;
  const float* gain;
  float epsilon;
  StreamRef matrix[kStreams];
  int row_tiles;
  int64_t out_rows;
  void* out;
  int64_t out_stride;
  bool out_f32;
  const __nv_bfloat16* residual;

  __nv_bfloat16 early[kTokenTiles][4];  // the residual

  __device__ void choose() {}
  __device__ void prepare(char*) {}
  __device__ void begin() {}
  __device__ NarrowUnits units() const { return part_of_units(row_tiles, blockIdx.x, gridDim.x); }
  __device__ int rows() const { return num_rows; }
  __device__ const __nv_bfloat16* row(int m) const {
    return x + int64_t{gather != nullptr ? gather[m] : m} * weights.cols;
  }
  __device__ StreamRef stream(int unit, int s) const {
    return {matrix[s].data, matrix[s].scale, unit};
  }
  // Calls each(n, j, row of x, output) for what this lane has.
  template <typename Each>
  __device__ __forceinline__ void each_output(int unit, const Each& each) const {
    using Sums = NarrowSums<kStreams, kTokenTiles, kWarps>;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int m = Sums::token(n, j);
        const int64_t output = int64_t{unit} * kTileRows + Sums::row(j);
        if (m < num_rows && output < out_rows) each(n, j, m, output);
      }
    }
  }
  __device__ void expect(int unit) {
    if (residual == nullptr) return;
    each_output(unit, [&](int n, int j, int m, int64_t output) {
      early[n][j] = residual[m * out_rows + output];
    });
  }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums) const {
    each_output(unit, [&](int n, int j, int m, int64_t output) {
      const float factor = sums.factor(m);
      float value = sums.value[0][n][j] * factor;
      if constexpr (kStreams == 2) value = silu(value) * (sums.value[1][n][j] * factor);
      if (residual != nullptr) value += __bfloat162float(early[n][j]);
      const int64_t at = m * out_stride + output;
      if (out_f32) {
        static_cast<float*>(out)[at] = value;
      } else {
        static_cast<__nv_bfloat16*>(out)[at] = __float2bfloat16_rn(value);
      }
    });
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles>
void run(const Stream& on, const NarrowProduct& product) {
  const Weight& weight = product.weight;
  const int64_t rows = product.input.rows().dim(0);
  ProductJob<kStreams, kTokenTiles> job{};
  job.weights = narrow_weights(weight.cols, weight.group);
  job.x = static_cast<const __nv_bfloat16*>(product.input.x.data);
  job.gather = product.input.gather;
  job.num_rows = static_cast<int>(rows);
  job.gain = product.input.gain.empty() ? nullptr : product.input.gain.f32();
  job.epsilon = product.input.epsilon;
  job.matrix[0] = {static_cast<const char*>(weight.data), weight.scale, 0};
  if constexpr (kStreams == 2) {
    job.matrix[1] = {static_cast<const char*>(product.up.data), product.up.scale, 0};
  }
  job.row_tiles = static_cast<int>(row_tiles(weight.rows));
  job.out_rows = weight.rows;
  job.out = product.out;
  job.out_stride = product.out_stride;
  job.out_f32 = product.out_type == DType::kF32;
  job.residual = product.residual;
  with_scale_cols<kFormat>(weight.group, [&](auto cols) {
    launch_narrow(on, narrow_kernel<kFormat, kStreams, kTokenTiles, cols(), decltype(job)>, job,
                  narrow_shared<kFormat, kStreams, cols()>(job.kWarps, weight.cols, rows,
                                                           job.gain != nullptr, kTokenTiles, 0),
                  job.row_tiles);
  });
}

}  // namespace

int narrow_rows(const Stream& on, int64_t cols) {
  for (const int rows : {16, 8}) {
    // The widest use: two streams of bf16.
    const NarrowShared shared =
        narrow_shared<WeightFormat::kBf16, 2, 64>(kNarrowWarps, cols, rows, true, rows / 8, 0);
    if (shared.bytes() <= on.shared_bytes) return rows;
  }
  return 0;
}

void narrow_product(const Stream& on, const NarrowProduct& product) {
  with_format(product.weight.format, [&](auto format) {
    with_token_tiles(product.input.rows().dim(0), [&](auto tiles) {
      if (product.up.empty()) {
        run<format(), 1, tiles()>(on, product);
      } else {
        run<format(), 2, tiles()>(on, product);
      }
    });
  });
}

}  // namespace switchyard::cuda
