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
  static constexpr bool kLate = false, kJumps = true, kEnds = true;
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
  float* head;    // [units of the block][tokens][kDim], shared

  static constexpr int kPairs = kDim >= 64 ? kDim / 64 : 1;  // of a lane
  // Of what this warp does first at the end.
  int early_slot;
  float early_gain[kPairs][2];

  // Of at least so many blocks.
  static int64_t shared_bytes(int64_t units, int64_t blocks, int64_t tokens) {
    return tokens * kDim * 4 * (1 + ceil_div(units, blocks));
  }
  // Heads of tokens are counted through units and tokens.
  __device__ int token_of(int i) const { return i % num_tokens; }
  __device__ int unit_of(int i) const { return units().first + i / num_tokens; }
  __device__ float gain_at(int unit, int d) const {
    const float* of = which(unit) == 0 ? q_gain : which(unit) == 1 ? k_gain : nullptr;
    return of != nullptr ? of[d] : 1.0f;
  }
  __device__ void choose() {}
  __device__ void prepare(char* shared) {
    angle = reinterpret_cast<float2*>(shared);
    head = reinterpret_cast<float*>(shared) + num_tokens * kDim;
#pragma unroll 1
    for (int i = threadIdx.x; i < num_tokens * kDim / 2; i += kWarps * 32) {
      const float by = static_cast<float>(position[i / (kDim / 2)]);
      sincosf(by * inv_frequency[i % (kDim / 2)], &angle[i].y, &angle[i].x);
    }
    const int first = threadIdx.x / 32;
    if (first >= units().count() * num_tokens) return;
    early_slot = kv_slot[token_of(first)];
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int d = threadIdx.x % 32 + 32 * p;
      if (d >= kDim / 2) break;
      early_gain[p][0] = gain_at(unit_of(first), d);
      early_gain[p][1] = gain_at(unit_of(first), d + kDim / 2);
    }
  }
  __device__ void begin() {}
  __device__ void expect(int) {}
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
  __device__ void store(int unit, int token, int slot, int d, float v) const {
    if (which(unit) == 0) {
      q[(int64_t{token} * heads + in_which(unit)) * kDim + d] = __float2bfloat16_rn(v);
      return;
    }
    const int64_t at = ((int64_t{slot / block_tokens} * kv_heads + in_which(unit)) * block_tokens +
                        slot % block_tokens) *
                           kDim +
                       d;
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
    float* all = head + (unit - units().first) * num_tokens * kDim;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int t = sums.token(n, j);
        if (t >= num_tokens) continue;
        const float factor = sums.factor(t);
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          all[t * kDim + s * kTileRows + sums.row(j)] = sums.value[s][n][j] * factor;
        }
      }
    }
  }
  __device__ void end() const {
    const int lane = threadIdx.x % 32;
    const int first = threadIdx.x / 32;
#pragma unroll 1
    for (int i = first; i < units().count() * num_tokens; i += kWarps) {
      const int unit = unit_of(i);
      const int t = token_of(i);
      const int slot = i == first ? early_slot : kv_slot[t];
      const float* mine = head + i * kDim;
      float scale = 1;
      if ((which(unit) == 0 ? q_gain : which(unit) == 1 ? k_gain : nullptr) != nullptr) {
        float squares = 0;
        for (int d = lane; d < kDim; d += 32) squares += mine[d] * mine[d];
        scale = rsqrtf(sum_of_warp(squares) / kDim + head_epsilon);
      }
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        const int d = lane + 32 * p;
        if (d >= kDim / 2) break;
        const float a = mine[d] * scale * (i == first ? early_gain[p][0] : gain_at(unit, d));
        const float b = mine[d + kDim / 2] * scale *
                        (i == first ? early_gain[p][1] : gain_at(unit, d + kDim / 2));
        const float2 by = which(unit) != 2 ? angle[t * (kDim / 2) + d] : float2{1, 0};
        store(unit, t, slot, d, a * by.x - b * by.y);
        store(unit, t, slot, d + kDim / 2, b * by.x + a * by.y);
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
        narrow_shared<kFormat, kStreams, scale_cols()>(
            job.kWarps, cols, batch.num_tokens, job.gain != nullptr, kTokenTiles,
            job.shared_bytes(job.heads + 2 * job.kv_heads, on.multiprocessors, batch.num_tokens)),
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
  const int64_t units = args.shape.heads + 2 * args.shape.kv_heads;
  const NarrowShared shared =
      dim == 128 ? narrow_shared<WeightFormat::kBf16, 8, 64>(
                       kNarrowWarps, cols, tokens, true, tiles,
                       QkvJob<8, 1>::shared_bytes(units, on.multiprocessors, tokens))
                 : narrow_shared<WeightFormat::kBf16, 4, 64>(
                       kNarrowWarps, cols, tokens, true, tiles,
                       QkvJob<4, 1>::shared_bytes(units, on.multiprocessors, tokens));
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
