#include "kernels/cuda/narrow_qkv.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow.h"

namespace switchyard::cuda {
namespace {

// By registers.
constexpr int most_tokens(int head_dim) { return head_dim == 64 ? 16 : 8; }

// A unit: one head of q, k or v, in this order; its streams are the head's row tiles.
template <int kStreams, int kTokenTiles>
struct QkvJob {
  using Sums = NarrowSums<kStreams, kTokenTiles, kNarrowWarps>;
  static constexpr int kWarps = kNarrowWarps;
  static constexpr bool kLate = false, kJumps = true;
  static constexpr int kDim = kStreams * kTileRows;
  NarrowWeights weights;
  const __nv_bfloat16* x;
  int num_tokens;
  const float* gain;
  float epsilon;
  StreamRef matrix[3];
  int heads, kv_heads;
  const float* q_gain;  // null: no norm of heads
  const float* k_gain;
  float head_epsilon;
  const float* inv_frequency;
  const int32_t* position;
  const int32_t* kv_slot;
  int block_tokens;
  __nv_bfloat16* q;
  DType cache_type;
  void* key;
  void* value;

  float2* angle;  // [tokens][kDim / 2] cosine and sine, shared
  // Of this lane: where its tokens lie in the cache, of the first head; its rows of the head's
  // gain.
  int64_t in_cache[kTokenTiles][2];
  float early_gain[kStreams][2];

  static int64_t shared_bytes(int64_t tokens) { return tokens * kDim * 4; }
  __device__ void prepare(char* shared) {
    angle = reinterpret_cast<float2*>(shared);
#pragma unroll 1
    for (int i = threadIdx.x; i < num_tokens * kDim / 2; i += kWarps * 32) {
      const float by = static_cast<float>(position[i / (kDim / 2)]);
      sincosf(by * inv_frequency[i % (kDim / 2)], &angle[i].y, &angle[i].x);
    }
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int t = Sums::token(n, j);
        if (t >= num_tokens) continue;
        const int block = kv_slot[t] / block_tokens;
        const int in_block = kv_slot[t] - block * block_tokens;
        in_cache[n][j] = (int64_t{block} * kv_heads * block_tokens + in_block) * kDim;
      }
    }
  }
  __device__ void begin() {}
  __device__ const float* gain_of(int unit) const {
    return which(unit) == 0 ? q_gain : which(unit) == 1 ? k_gain : nullptr;
  }
  __device__ void expect(int unit) {
    const float* head_gain = gain_of(unit);
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        early_gain[s][half] =
            head_gain != nullptr ? head_gain[s * kTileRows + Sums::row(half * 2)] : 1.0f;
      }
    }
  }
  __device__ NarrowUnits units() const {
    return part_of_units(heads + 2 * kv_heads, blockIdx.x, gridDim.x);
  }
  __device__ int rows() const { return num_tokens; }
  __device__ const __nv_bfloat16* row(int m) const { return x + int64_t{m} * weights.cols; }
  // 0, 1, 2 for q, k, v, and the head of it.
  __device__ int which(int unit) const {
    return unit < heads ? 0 : unit < heads + kv_heads ? 1 : 2;
  }
  __device__ int in_which(int unit) const {
    const int w = which(unit);
    return unit - (w == 0 ? 0 : w == 1 ? heads : heads + kv_heads);
  }
  __device__ StreamRef stream(int unit, int s) const {
    const StreamRef& all = matrix[which(unit)];
    return {all.data, all.scale, int64_t{in_which(unit)} * kStreams + s};
  }
  __device__ void store(int unit, int token, int64_t in_first, int d, float v) const {
    if (which(unit) == 0) {
      q[(int64_t{token} * heads + in_which(unit)) * kDim + d] = __float2bfloat16_rn(v);
      return;
    }
    const int64_t at = in_first + in_which(unit) * block_tokens * kDim + d;
    void* cache = which(unit) == 1 ? key : value;
    if (cache_type == DType::kBf16) {
      static_cast<__nv_bfloat16*>(cache)[at] = __float2bfloat16_rn(v);
    } else if (cache_type == DType::kF16) {
      static_cast<__half*>(cache)[at] = __float2half_rn(v);
    } else {
      static_cast<float*>(cache)[at] = v;
    }
  }
  __device__ void finish(int unit, const Sums& sums) const {
    const bool normed = gain_of(unit) != nullptr;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {          // the lane's tokens; its rows are those of j and j + 2
        if (n * 8 + j >= num_tokens) break;  // in no lane
        const int t = min(Sums::token(n, j), num_tokens - 1);
        float scale = sums.factor(t);
        float squares = 0;
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          const float low = sums.value[s][n][j], high = sums.value[s][n][j + 2];
          squares += low * low + high * high;
        }
#pragma unroll
        for (int lanes = 4; lanes < 32; lanes *= 2) squares += __shfl_xor_sync(~0u, squares, lanes);
        if (normed) scale *= rsqrtf(squares * scale * scale / kDim + head_epsilon);
        if (Sums::token(n, j) >= num_tokens) continue;
#pragma unroll
        for (int s = 0; s < kStreams / 2; ++s) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int i = s * kTileRows + Sums::row(half * 2);
            const int other = s + kStreams / 2;
            const float a = sums.value[s][n][j + half * 2] * scale * early_gain[s][half];
            const float b = sums.value[other][n][j + half * 2] * scale * early_gain[other][half];
            const float2 by = which(unit) != 2 ? angle[t * (kDim / 2) + i] : float2{1, 0};
            store(unit, t, in_cache[n][j], i, a * by.x - b * by.y);
            store(unit, t, in_cache[n][j], i + kDim / 2, b * by.x + a * by.y);
          }
        }
      }
    }
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles>
void run(const Stream& on, const QkvArgs& args, const RaggedBatch& batch) {
  const int64_t cols = args.q_proj.cols;
  const auto matrix = [](const Weight& weight) {
    return StreamRef{static_cast<const char*>(weight.data), weight.scale, 0};
  };
  const auto optional = [](const Tensor& t) { return t.empty() ? nullptr : t.f32(); };
  QkvJob<kStreams, kTokenTiles> job{};
  job.weights = narrow_weights(cols, args.q_proj.group);
  job.x = static_cast<const __nv_bfloat16*>(args.input.x.data);
  job.num_tokens = batch.num_tokens;
  job.gain = optional(args.input.gain);
  job.epsilon = args.input.epsilon;
  job.matrix[0] = matrix(args.q_proj);
  job.matrix[1] = matrix(args.k_proj);
  job.matrix[2] = matrix(args.v_proj);
  job.heads = args.shape.heads;
  job.kv_heads = args.shape.kv_heads;
  job.q_gain = optional(args.q_gain);
  job.k_gain = optional(args.k_gain);
  job.head_epsilon = args.head_epsilon;
  job.inv_frequency = args.inv_frequency.f32();
  job.position = batch.position;
  job.kv_slot = batch.kv_slot;
  job.block_tokens = args.shape.block_tokens;
  job.q = static_cast<__nv_bfloat16*>(args.q.data);
  job.cache_type = args.cache.key.dtype;
  job.key = args.cache.key.data;
  job.value = args.cache.value.data;
  with_scale_cols<kFormat>(args.q_proj.group, [&](auto scale_cols) {
    launch_narrow(
        on,
        narrow_kernel<kFormat, kStreams, kTokenTiles, scale_cols(), QkvJob<kStreams, kTokenTiles>>,
        job,
        narrow_shared<kFormat, kStreams, scale_cols()>(job.kWarps, cols, batch.num_tokens,
                                                       job.gain != nullptr, kTokenTiles,
                                                       job.shared_bytes(batch.num_tokens)),
        job.heads + 2 * job.kv_heads);
  });
}

}  // namespace

bool qkv_is_narrow(const Stream& on, const QkvArgs& args) {
  const int dim = args.shape.head_dim;
  const int64_t tokens = args.q.dim(0);
  const int64_t cols = args.q_proj.cols;
  if ((dim != 32 && dim != 64 && dim != 128) || args.input.gather != nullptr ||
      args.q_proj.format != args.k_proj.format || args.q_proj.format != args.v_proj.format ||
      tokens > std::min(most_tokens(dim), narrow_rows(on, cols))) {
    return false;
  }
  const int tiles = tokens > 8 ? 2 : 1;
  const NarrowShared shared =
      dim == 128 ? narrow_shared<WeightFormat::kBf16, 8, 64>(
                       kNarrowWarps, cols, tokens, true, tiles, QkvJob<8, 1>::shared_bytes(tokens))
                 : narrow_shared<WeightFormat::kBf16, 4, 64>(
                       kNarrowWarps, cols, tokens, true, tiles, QkvJob<4, 1>::shared_bytes(tokens));
  return shared.bytes() <= on.shared_bytes;
}

void narrow_qkv(const Stream& on, const QkvArgs& args, const RaggedBatch& batch) {
  with_format(args.q_proj.format, [&](auto format) {
    const auto with_tiles = [&](auto tiles) {
      switch (args.shape.head_dim) {
        case 32:
          CHECK(tiles() == 1);
          return run<format(), 2, 1>(on, args, batch);
        case 64:
          return run<format(), 4, tiles()>(on, args, batch);
        case 128:
          CHECK(tiles() == 1);
          return run<format(), 8, 1>(on, args, batch);
        default:
          CHECK(false);  // qkv_is_narrow
      }
    };
    if (batch.num_tokens <= 8) {
      with_tiles(std::integral_constant<int, 1>());
    } else {
      with_tiles(std::integral_constant<int, 2>());
    }
  });
}

}  // namespace switchyard::cuda
