#include "kernels/cuda/narrow_qkv.h"

#include <algorithm>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow.h"

namespace switchyard::cuda {
namespace {

// By registers.
constexpr int most_tokens(int head_dim) { return head_dim == 64 ? 16 : 8; }

// A unit: one head of q, k or v, in this order; its streams are the head's row tiles.
template <int kStreams>
struct QkvJob {
  static constexpr bool kLate = false;
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

  float* head;  // [groups of warps][tokens][kDim], shared

  static constexpr int kPairs = kDim >= 64 ? kDim / 64 : 1;  // of a lane
  // Of this warp's first token.
  float early_sine[kPairs], early_cosine[kPairs];

  __device__ void prepare(char* shared, const NarrowGroup& group) {
    head = reinterpret_cast<float*>(shared);
    const int t = group.thread() / 32;
    if (t < num_tokens) angles(t, early_sine, early_cosine);
  }
  __device__ void begin() {}
  __device__ void expect(int, const NarrowGroup&) {}
  __device__ void angles(int t, float (&sine)[kPairs], float (&cosine)[kPairs]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int i = lane + 32 * p;
      if (i < kDim / 2) {
        sincosf(static_cast<float>(position[t]) * inv_frequency[i], &sine[p], &cosine[p]);
      }
    }
  }
  __device__ int units() const { return heads + 2 * kv_heads; }
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
  __device__ void store(int unit, int token, int d, float v) const {
    if (which(unit) == 0) {
      q[(int64_t{token} * heads + in_which(unit)) * kDim + d] = __float2bfloat16_rn(v);
      return;
    }
    const int slot = kv_slot[token];
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
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums, const NarrowGroup& group) const {
    float* all = head + group.index() * num_tokens * kDim;
#pragma unroll 1
    for (int i = group.thread(); i < kDim * num_tokens; i += group.threads()) {
      const int d = i % kDim;
      const int t = i / kDim;
      all[i] = sums.at(d / kTileRows, d % kTileRows, t) * sums.factor(t);
    }
    group.sync();
    const int lane = threadIdx.x % 32;
    const float* head_gain = which(unit) == 0 ? q_gain : which(unit) == 1 ? k_gain : nullptr;
#pragma unroll 1
    for (int t = group.thread() / 32; t < num_tokens; t += group.warps) {
      const float* mine = all + t * kDim;
      float scale = 1;
      if (head_gain != nullptr) {
        float squares = 0;
        for (int d = lane; d < kDim; d += 32) squares += mine[d] * mine[d];
        scale = rsqrtf(sum_of_warp(squares) / kDim + head_epsilon);
      }
      float sine[kPairs], cosine[kPairs];
      if (t == group.thread() / 32) {
#pragma unroll
        for (int p = 0; p < kPairs; ++p) {
          sine[p] = early_sine[p];
          cosine[p] = early_cosine[p];
        }
      } else {
        angles(t, sine, cosine);
      }
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        const int i = lane + 32 * p;
        if (i >= kDim / 2) break;
        float a = mine[i] * scale;
        float b = mine[i + kDim / 2] * scale;
        if (head_gain != nullptr) {
          a *= head_gain[i];
          b *= head_gain[i + kDim / 2];
        }
        const bool rotates = which(unit) != 2;
        store(unit, t, i, rotates ? a * cosine[p] - b * sine[p] : a);
        store(unit, t, i + kDim / 2, rotates ? b * cosine[p] + a * sine[p] : b);
      }
    }
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles>
void run(const Stream& on, const QkvArgs& args, const RaggedBatch& batch) {
  const int64_t cols = args.q_proj.cols;
  const int64_t head_bytes = int64_t{kNarrowWarps} * batch.num_tokens * kStreams * kTileRows * 4;
  const auto matrix = [](const Weight& weight) {
    return StreamRef{static_cast<const char*>(weight.data), weight.scale, 0};
  };
  const auto optional = [](const Tensor& t) { return t.empty() ? nullptr : t.f32(); };
  QkvJob<kStreams> job{};
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
  with_scale_cols<kFormat>(args.q_proj.group, job.weights.k_tiles, [&](auto scale_cols, int items) {
    const auto kernel =
        narrow_kernel<kFormat, kStreams, kTokenTiles, scale_cols(), QkvJob<kStreams>>;
    const NarrowShared shared = narrow_shared<kFormat, kStreams, scale_cols()>(
        cols, batch.num_tokens, kTokenTiles, head_bytes);
    const int64_t units = job.heads + 2 * job.kv_heads;
    const int64_t resident = resident_blocks(on, kernel, shared.bytes());
    const NarrowGroup group = narrow_group(units, items, resident);
    const int64_t blocks = std::min(resident, ceil_div(units, kNarrowWarps / group.warps));
    launch(on, kernel, static_cast<unsigned>(blocks), kNarrowThreads, shared.bytes(), job, shared,
           group);
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
  const int64_t head_bytes = int64_t{kNarrowWarps} * tokens * dim * 4;
  const int tiles = tokens > 8 ? 2 : 1;
  const NarrowShared shared =
      dim == 128 ? narrow_shared<WeightFormat::kBf16, 8, 64>(cols, tokens, tiles, head_bytes)
                 : narrow_shared<WeightFormat::kBf16, 4, 64>(cols, tokens, tiles, head_bytes);
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
