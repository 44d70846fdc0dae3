// A block takes a tile of queries of one row and kv head against the keys that they see, 64 at a
// time. A query is a (token, query head of the group): the heads of a group lie side by side in a
// tile, so that short chunks fill tiles too and a tile's last keys are the same for nearly all.
//
// flops: 4 * head_dim * heads * sum over tokens of the keys that they see.
#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = 64;

template <int kDim>
struct Tiling {
  static constexpr int kTiles = kDim == 64 ? 2 : 1;  // of 16 queries, of a warp
  static constexpr int kQueries = kWarps * kTiles * 16;
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kMatrixBytes = kKeys * kRowBytes;  // of keys, or of values
  static constexpr int kStages = 2;
  static constexpr int kBytes = 2 * kStages * kMatrixBytes;
};

// Rows of 16-byte chunks in shared memory, permuted so that eight rows' equal chunks share no bank.
template <int kDim>
__device__ __forceinline__ uint32_t place_of(int row, int chunk) {
  return static_cast<uint32_t>(row * Tiling<kDim>::kRowBytes + ((chunk ^ (row & 7)) * 16));
}

// One row's cache, and where this kv head lies in it.
struct RowCache {
  const AttentionTask& task;
  const int32_t* blocks;
  int head;
  int keys;
  int block_shift;

  // Keys [first, first + kKeys), zeros behind the last one.
  template <int kDim>
  __device__ __forceinline__ void copy(int first, uint32_t to_keys, uint32_t to_values) const {
    constexpr int kChunks = kDim / 8;
    constexpr int kRowsAtOnce = kThreads / kChunks;
    const int chunk = threadIdx.x % kChunks;
    const int in_block_mask = task.block_tokens - 1;
#pragma unroll
    for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
      const int row = threadIdx.x / kChunks + i * kRowsAtOnce;
      const int key = first + row;
      const bool valid = key < keys;
      const int64_t block = valid ? __ldg(blocks + (key >> block_shift)) : 0;
      const int64_t at =
          ((block * task.kv_heads + head) * task.block_tokens + (key & in_block_mask)) * kDim +
          chunk * 8;
      const uint32_t place = place_of<kDim>(row, chunk);
      copy_async(to_keys + place, static_cast<const __nv_bfloat16*>(task.key) + at, valid);
      copy_async(to_values + place, static_cast<const __nv_bfloat16*>(task.value) + at, valid);
    }
    commit_copies();
  }
};

// A warp's share of a tile. Of tile m, lane (g, t) has queries g and g + 8.
template <int kDim>
struct Attend {
  using T = Tiling<kDim>;
  Fragment query[T::kTiles][kDim / 16];
  float sum[T::kTiles][kDim / 8][4];
  float largest[T::kTiles][2];  // times scale * log2(e)
  float total[T::kTiles][2];    // of this lane's keys
  int lane;

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j) {
        sum[m][j][0] = sum[m][j][1] = sum[m][j][2] = sum[m][j][3] = 0;
      }
      largest[m][0] = largest[m][1] = minus_infinity();
      total[m][0] = total[m][1] = 0;
    }
  }

  // `see[m][u]`: the keys that query g + 8u of tile m sees, less `first`; looked at if kMasked.
  template <bool kMasked>
  __device__ void add(
      uint32_t keys, uint32_t values, const int (&see)[T::kTiles][2], int first, float scale) {
    float logit[T::kTiles][kKeys / 8][4] = {};
    // In fours of key columns, so that the first are ready while the last are multiplied.
#pragma unroll
    for (int four = 0; four < kKeys / 8; four += 4) {
#pragma unroll
      for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
        for (int j = four; j < four + 4; j += 2) {
          uint32_t b[4];
          load_matrices(
              b, keys + place_of<kDim>(8 * j + lane / 16 * 8 + lane % 8, 2 * s + lane / 8 % 2));
#pragma unroll
          for (int m = 0; m < T::kTiles; ++m) {
            mma(logit[m][j], query[m][s], b[0], b[1]);
            mma(logit[m][j + 1], query[m][s], b[2], b[3]);
          }
        }
      }
    }
    if constexpr (kMasked) {
      const int mine = first + lane % 4 * 2;
#pragma unroll
      for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
        for (int i = 0; i < kKeys / 2; ++i) {
          if (mine + i / 4 * 8 + i % 2 >= see[m][i % 4 / 2]) {
            logit[m][i / 4][i % 4] = minus_infinity();
          }
        }
      }
    }
    float reference[T::kTiles][2];
#pragma unroll
    for (int m = 0; m < T::kTiles; ++m) look_at(logit[m], m, scale, reference[m]);
    // Exponentials of the next 16 keys while these are multiplied.
    Fragment weight[T::kTiles];
#pragma unroll
    for (int m = 0; m < T::kTiles; ++m) weight[m] = weigh(logit[m], m, 0, scale, reference[m]);
#pragma unroll
    for (int s = 0; s < kKeys / 16; ++s) {
      Fragment next[T::kTiles] = {};
      if (s + 1 < kKeys / 16) {
#pragma unroll
        for (int m = 0; m < T::kTiles; ++m) {
          next[m] = weigh(logit[m], m, s + 1, scale, reference[m]);
        }
      }
#pragma unroll
      for (int j = 0; j < kDim / 8; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, values + place_of<kDim>(16 * s + lane % 16, j + lane / 16));
#pragma unroll
        for (int m = 0; m < T::kTiles; ++m) {
          mma(sum[m][j], weight[m], b[0], b[1]);
          mma(sum[m][j + 1], weight[m], b[2], b[3]);
        }
      }
#pragma unroll
      for (int m = 0; m < T::kTiles; ++m) weight[m] = next[m];
    }
  }

 private:
  // The largest logits of tile m so far; what came before is brought to them.
  __device__ __forceinline__ void look_at(const float (&logit)[kKeys / 8][4],
                                          int m,
                                          float scale,
                                          float (&reference)[2]) {
    float shrink[2];
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      float most = fmaxf(logit[0][2 * u], logit[0][2 * u + 1]);
#pragma unroll
      for (int j = 1; j < kKeys / 8; ++j) {
        most = fmaxf(most, fmaxf(logit[j][2 * u], logit[j][2 * u + 1]));
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      most = fmaxf(most * scale, largest[m][u]);
      reference[u] = reference_of(most);
      shrink[u] = exp2_approx(largest[m][u] - reference[u]);
      largest[m][u] = most;
    }
    if (__any_sync(~0u, shrink[0] != 1 || shrink[1] != 1)) {
#pragma unroll
      for (int u = 0; u < 2; ++u) {
        total[m][u] *= shrink[u];
#pragma unroll
        for (int j = 0; j < kDim / 8; ++j) {
          sum[m][j][2 * u] *= shrink[u];
          sum[m][j][2 * u + 1] *= shrink[u];
        }
      }
    }
  }
  // Logits of keys [16s, 16s + 16) of the tile as weights.
  __device__ __forceinline__ Fragment weigh(
      const float (&logit)[kKeys / 8][4], int m, int s, float scale, const float (&reference)[2]) {
    float e[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float& one = e[i / 4][i % 4];
      one = exp2_approx(fmaf(logit[2 * s + i / 4][i % 4], scale, -reference[i % 4 / 2]));
      total[m][i % 4 / 2] += one;
    }
    return {{pack_bf16(e[0][0], e[0][1]), pack_bf16(e[0][2], e[0][3]), pack_bf16(e[1][0], e[1][1]),
             pack_bf16(e[1][2], e[1][3])}};
  }
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, 2) prefill(AttentionTask task, int longest) {
  using T = Tiling<kDim>;
  extern __shared__ uint4 shared[];
  let_next_start();
  const auto tiles_of = [&](int row) {
    const int tokens = __ldg(task.row_start + row + 1) - __ldg(task.row_start + row);
    return tokens > longest ? (tokens * task.group + T::kQueries - 1) / T::kQueries : 0;
  };
  RowCursor cursor;
  const RowCursor::Place place = cursor.seek(blockIdx.y, task.rows, tiles_of);
  wait_for_previous();
  if (place.row < 0) return;
  const int row_begin = __ldg(task.row_start + place.row);
  const int queries = (__ldg(task.row_start + place.row + 1) - row_begin) * task.group;
  const int keys = __ldg(task.kv_len + place.row);
  // The last tile sees most: it begins first.
  const int tile = (queries - 1) / T::kQueries - place.within;
  const int past = keys - queries / task.group;
  const int head = blockIdx.x;

  const int lane = threadIdx.x % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int first_query = tile * T::kQueries + threadIdx.x / 32 * (T::kTiles * 16);
  const auto memory_of = [&](int query) {
    const int64_t token = row_begin + query / task.group;
    return (token * task.heads() + head * task.group + query % task.group) * kDim;
  };
  const RowCache cache = {task, task.block_id + __ldg(task.block_start + place.row), head, keys,
                          __ffs(task.block_tokens) - 1};
  const uint32_t queue = shared_address(shared);
  cache.copy<kDim>(0, queue, queue + T::kMatrixBytes);

  Attend<kDim> own;
  own.lane = lane;
  own.clear();
  int see[T::kTiles][2];
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      const int query = first_query + 16 * m + 8 * u + g;
      const bool is_there = query < queries;
      see[m][u] = is_there ? past + query / task.group + 1 : 0;
      const __nv_bfloat16* from = task.q + memory_of(is_there ? query : 0) + 2 * t;
#pragma unroll
      for (int s = 0; s < kDim / 16; ++s) {
        own.query[m][s].a[u] = *reinterpret_cast<const uint32_t*>(from + 16 * s);
        own.query[m][s].a[u + 2] = *reinterpret_cast<const uint32_t*>(from + 16 * s + 8);
      }
    }
  }
  const float scale = task.scale * 1.4426950408889634f;
  const int last_query = min((tile + 1) * T::kQueries, queries) - 1;
  const int end_key = past + last_query / task.group + 1;
  const int all_see = past + tile * T::kQueries / task.group + 1;
  for (int first = 0, i = 0; first < end_key; first += kKeys, ++i) {
    const uint32_t now = queue + i % 2 * (2 * T::kMatrixBytes);
    const uint32_t next = queue + (i + 1) % 2 * (2 * T::kMatrixBytes);
    wait_for_copies<0>();
    __syncthreads();
    if (first + kKeys < end_key) {
      cache.copy<kDim>(first + kKeys, next, next + T::kMatrixBytes);
    }
    if (first + kKeys <= all_see) {
      own.template add<false>(now, now + T::kMatrixBytes, see, first, scale);
    } else {
      own.template add<true>(now, now + T::kMatrixBytes, see, first, scale);
    }
  }
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      float total = own.total[m][u];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      const float by = total > 0 ? 1.0f / total : 0.0f;
      const int query = first_query + 16 * m + 8 * u + g;
      if (query >= queries) continue;
      __nv_bfloat16* to = task.out + memory_of(query) + 2 * t;
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j) {
        *reinterpret_cast<uint32_t*>(to + 8 * j) =
            pack_bf16(own.sum[m][j][2 * u] * by, own.sum[m][j][2 * u + 1] * by);
      }
    }
  }
}

template <int kDim>
void prefill_with(const Stream& on, const AttentionTask& task, int longest) {
  using T = Tiling<kDim>;
  const int64_t tiles = ceil_div(int64_t{task.tokens} * task.group, T::kQueries) + task.rows;
  const dim3 grid(static_cast<unsigned>(task.kv_heads), static_cast<unsigned>(tiles));
  launch(on, prefill<kDim>, grid, kThreads, T::kBytes, task, longest);
}

}  // namespace

void attention_prefill(const Stream& on, const AttentionTask& task, int longest) {
  if (task.head_dim == 64) return prefill_with<64>(on, task, longest);
  CHECK(task.head_dim == 128);
  prefill_with<128>(on, task, longest);
}

}  // namespace switchyard::cuda
