// The keys of a row are cut into pieces; a block takes a piece for all queries of one kv head, its
// warps take granules of 16 keys of it in turn. The last block of a row's kv head to end adds up
// the pieces, in their order, so the result does not depend on who was last.
//
// Keys and values go from memory to tensor core operands without being shared: the indices that an
// mma sums over, and the columns of its result, may be in any order, so every lane takes 16-byte
// chunks of rows and their words are operands as they lie. Shared memory is a queue of each lane's
// own copies, which registers are too few for; no lane waits for another but in the softmax.
//
// bytes: 2 * kv_len * kv_heads * head_dim * 2 of the cache, and 8 / (keys of a piece) of that.
#include <algorithm>

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kGranule = 16;
constexpr int kLeastPiece = kWarps * kGranule;
constexpr int kMostPiece = 512;  // unless memory for partial results is short

template <int kDim>
struct Queue {
  static constexpr int kStages = kDim == 64 ? 4 : 3;
  static constexpr int kBlocksPerMultiprocessor = kDim == 64 ? 3 : 2;
  static constexpr int kKeyChunks = kDim / 32;  // of a lane, of one key
  static constexpr int kHalves = kDim / 64;
  static constexpr int kCopies = 2 * kKeyChunks + 4 * kHalves;  // of a lane, of a granule
  static constexpr int kStageBytes = kCopies * 32 * 16;
  static constexpr int kBytes = kWarps * kStages * kStageBytes;
};

// How pieces are cut: of a row alone, given the host's counts.
struct Cut {
  int longest;  // rows with more new tokens are not ours
  int tokens;   // of one unit: new tokens that are attended together
  int units;    // units of the batch, at most, times kv heads
  int multiprocessors;
  int most_pieces;  // of a row
  bool by_token;    // a unit's place is that of its first token, else tokens * its row
  float* partial;   // [places, heads, most_pieces][head_dim], rows of a unit together
  float2* partial_softmax;
  uint32_t* arrived;  // [places / tokens or places, kv_heads]

  __device__ int piece_keys(int keys) const {
    const int64_t even = int64_t{keys} * units / multiprocessors;
    const int wanted = static_cast<int>(min(even, int64_t{kMostPiece - 1})) / kLeastPiece + 1;
    const int needed = (keys - 1) / (kLeastPiece * most_pieces) + 1;
    return max(wanted, needed) * kLeastPiece;
  }
  __device__ int pieces(int keys) const { return keys > 0 ? (keys - 1) / piece_keys(keys) + 1 : 1; }
};

// One block's work.
struct Piece {
  int row;
  int head;         // kv head
  int first_token;  // of the unit
  int queries;      // rows of the product: (token, query head of the group)
  int visible;      // keys that the unit's first token sees
  int keys;         // of the row
  int first_key, end_key;
  int index, count;  // among the pieces of the row
};

struct Softmax {
  float largest;  // times scale * log2(e)
  float total;
};

// Four logits of one query, as exponentials. Returns what older sums must be multiplied with.
__device__ __forceinline__ float add_logits(
    Softmax& softmax, float& a, float& b, float& c, float& d, float scale) {
  float largest = fmaxf(fmaxf(a, b), fmaxf(c, d));
  largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
  largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
  largest = fmaxf(largest * scale, softmax.largest);
  const float reference = reference_of(largest);
  const float shrink = exp2_approx(softmax.largest - reference);
  a = exp2_approx(a * scale - reference);
  b = exp2_approx(b * scale - reference);
  c = exp2_approx(c * scale - reference);
  d = exp2_approx(d * scale - reference);
  softmax = {largest, softmax.total * shrink + ((a + b) + (c + d))};
  return shrink;
}

// kRows: queries that a block has room for, 8 or 16.
template <int kDim, int kRows>
struct Attend {
  using Q = Queue<kDim>;
  static constexpr bool kUpper = kRows > 8;  // the second 8 rows of the mma hold queries

  const AttentionTask& task;
  const Piece& piece;
  uint4* queue;  // this lane's first chunk
  int warp, g, t;
  const __nv_bfloat16* key;  // at this lane's place in a granule's first row
  const __nv_bfloat16* value;
  int block_shift;

  Fragment query[kDim / 16];
  float sum[kDim / 8][4];
  Softmax softmax[2];

  __device__ int first_key_of(int granule) const {
    return piece.first_key + (granule * kWarps + warp) * kGranule;
  }
  __device__ int block_of(int granule) const {
    const int first = first_key_of(granule);
    if (first >= piece.end_key) return 0;
    return __ldg(task.block_id + __ldg(task.block_start + piece.row) + (first >> block_shift));
  }
  __device__ void copy(int granule, int block) const {
    const int first = first_key_of(granule);
    if (first < piece.end_key) {
      const int in_block = first & (task.block_tokens - 1);
      const int64_t place =
          ((int64_t{block} * task.kv_heads + piece.head) * task.block_tokens + in_block) * kDim;
      uint32_t to = shared_address(queue + granule % Q::kStages * (Q::kStageBytes / 16));
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int c = 0; c < Q::kKeyChunks; ++c, to += 512) {
          copy_async(to, key + place + (8 * j * kDim + 32 * c), first + 8 * j + g < piece.keys);
        }
      }
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const int k = p % 2 + p / 2 * 8;
#pragma unroll
        for (int h = 0; h < Q::kHalves; ++h, to += 512) {
          copy_async(to, value + place + (k * kDim + 64 * h), first + 2 * t + k < piece.keys);
        }
      }
    }
    commit_copies();
  }

  __device__ void load_queries() {
    const auto chunk = [&](int row, int c) -> uint4 {
      if (row >= piece.queries) return {0, 0, 0, 0};
      const int token = piece.first_token + row / task.group;
      const int head = piece.head * task.group + row % task.group;
      return *reinterpret_cast<const uint4*>(
          task.q + (int64_t{token} * task.heads() + head) * kDim + 8 * t + 32 * c);
    };
#pragma unroll
    for (int c = 0; c < Q::kKeyChunks; ++c) {
      const uint4 low = chunk(g, c);
      const uint4 high = kUpper ? chunk(g + 8, c) : uint4{0, 0, 0, 0};
      query[2 * c] = {{low.x, high.x, low.y, high.y}};
      query[2 * c + 1] = {{low.z, high.z, low.w, high.w}};
    }
  }

  // Keys that query `row` sees.
  __device__ int visible_to(int row) const { return piece.visible + row / task.group; }

  __device__ void add(int granule, int see_low, int see_high, float scale) {
    const uint4* from = queue + granule % Q::kStages * (Q::kStageBytes / 16);
    float logit[2][4] = {};
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int c = 0; c < Q::kKeyChunks; ++c, from += 32) {
        const uint4 chunk = *from;
        mma(logit[j], query[2 * c], chunk.x, chunk.y);
        mma(logit[j], query[2 * c + 1], chunk.z, chunk.w);
      }
    }
    const int mine = first_key_of(granule) + 2 * t;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int see = i % 4 < 2 ? see_low : see_high;
      if (mine + i / 4 * 8 + i % 2 >= see) logit[i / 4][i % 4] = minus_infinity();
    }
    float shrink[2] = {1, 1};
    shrink[0] = add_logits(softmax[0], logit[0][0], logit[0][1], logit[1][0], logit[1][1], scale);
    Fragment weight = {
        {pack_bf16(logit[0][0], logit[0][1]), 0, pack_bf16(logit[1][0], logit[1][1]), 0}};
    if constexpr (kUpper) {
      shrink[1] = add_logits(softmax[1], logit[0][2], logit[0][3], logit[1][2], logit[1][3], scale);
      weight.a[1] = pack_bf16(logit[0][2], logit[0][3]);
      weight.a[3] = pack_bf16(logit[1][2], logit[1][3]);
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      sum[j][0] *= shrink[0];
      sum[j][1] *= shrink[0];
      if constexpr (kUpper) {
        sum[j][2] *= shrink[1];
        sum[j][3] *= shrink[1];
      }
    }
#pragma unroll
    for (int h = 0; h < Q::kHalves; ++h) {
      uint32_t v[4][4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const uint4 chunk = from[(p * Q::kHalves + h) * 32];
        v[p][0] = chunk.x, v[p][1] = chunk.y, v[p][2] = chunk.z, v[p][3] = chunk.w;
      }
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        mma(sum[8 * h + 2 * w], weight, __byte_perm(v[0][w], v[1][w], 0x5410),
            __byte_perm(v[2][w], v[3][w], 0x5410));
        mma(sum[8 * h + 2 * w + 1], weight, __byte_perm(v[0][w], v[1][w], 0x7632),
            __byte_perm(v[2][w], v[3][w], 0x7632));
      }
    }
  }

  __device__ void run() {
    constexpr int kAhead = Q::kStages - 1;
    int block[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) block[i] = block_of(i);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) copy(i, block[i]);
    int next_block = block_of(kAhead);
    load_queries();
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
    softmax[0] = softmax[1] = {minus_infinity(), 0};
    const float scale = task.scale * 1.4426950408889634f;
    const int see_low = g < piece.queries ? visible_to(g) : piece.keys;
    const int see_high = g + 8 < piece.queries ? visible_to(g + 8) : piece.keys;
    for (int i = 0; first_key_of(i) < piece.end_key; ++i) {
      const int now_block = next_block;
      next_block = block_of(i + kAhead + 1);
      wait_for_copies<kAhead - 1>();
      copy(i + kAhead, now_block);
      add(i, see_low, see_high, scale);
    }
    wait_for_copies<0>();
#pragma unroll
    for (Softmax& one : softmax) {
      one.total += __shfl_xor_sync(~0u, one.total, 1);
      one.total += __shfl_xor_sync(~0u, one.total, 2);
    }
  }
};

// What warps hand each other, where the queue was.
template <int kDim, int kRows>
struct Handover {
  float sum[kWarps][kRows][kDim + 4];
  Softmax softmax[kWarps][kRows];
  Softmax merged[kRows];
  int is_last;
};

__device__ __forceinline__ float4 scaled_sum(float4 sum, float4 x, float by) {
  return {sum.x + x.x * by, sum.y + x.y * by, sum.z + x.z * by, sum.w + x.w * by};
}

__device__ void write_out(const AttentionTask& task,
                          const Piece& piece,
                          int dim,
                          int row,
                          int d,
                          float4 sum,
                          float total) {
  const float by = total > 0 ? 1.0f / total : 0.0f;
  const int token = piece.first_token + row / task.group;
  const int head = piece.head * task.group + row % task.group;
  *reinterpret_cast<uint2*>(task.out + (int64_t{token} * task.heads() + head) * dim + d) =
      uint2{pack_bf16(sum.x * by, sum.y * by), pack_bf16(sum.z * by, sum.w * by)};
}

// Adds up the pieces of a row's kv head, in an order that their number decides.
template <int kDim, int kRows>
__device__ void merge_pieces(const AttentionTask& task,
                             const Cut& cut,
                             const Piece& piece,
                             int64_t first_partial,
                             Handover<kDim, kRows>& shared) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  constexpr int kTogether = kThreads / kRows;  // threads of one query
  {
    const int row = threadIdx.x / kTogether;
    Softmax all = {minus_infinity(), 0};
    if (row < piece.queries) {
      const float2* from = cut.partial_softmax + first_partial + row;
      for (int s = threadIdx.x % kTogether; s < piece.count; s += kTogether) {
        const float2 one = __ldcg(from + int64_t{s} * piece.queries);
        const float largest = fmaxf(all.largest, one.x);
        const float reference = reference_of(largest);
        all = {largest, all.total * exp2_approx(all.largest - reference) +
                            one.y * exp2_approx(one.x - reference)};
      }
    }
#pragma unroll
    for (int offset = 1; offset < kTogether; offset *= 2) {
      const Softmax one = {__shfl_xor_sync(~0u, all.largest, offset),
                           __shfl_xor_sync(~0u, all.total, offset)};
      const float largest = fmaxf(all.largest, one.largest);
      const float reference = reference_of(largest);
      all = {largest, all.total * exp2_approx(all.largest - reference) +
                          one.total * exp2_approx(one.largest - reference)};
    }
    if (threadIdx.x % kTogether == 0) shared.merged[row] = all;
  }
  __syncthreads();
  constexpr int kVectors = kDim / 4;  // of one query
  const int vectors = piece.queries * kVectors;
  for (int v = lane; v < vectors; v += 32) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    const float reference = reference_of(shared.merged[row].largest);
    const int64_t at = first_partial + row;
    float4 sum = {0, 0, 0, 0};
#pragma unroll 4
    for (int s = warp; s < piece.count; s += kWarps) {
      const int64_t place = at + int64_t{s} * piece.queries;
      const float4 one = __ldcg(reinterpret_cast<const float4*>(cut.partial + place * kDim + d));
      sum = scaled_sum(sum, one, exp2_approx(__ldcg(cut.partial_softmax + place).x - reference));
    }
    *reinterpret_cast<float4*>(&shared.sum[warp][row][d]) = sum;
  }
  __syncthreads();
  for (int v = threadIdx.x; v < vectors; v += kThreads) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    float4 sum = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      sum = scaled_sum(sum, *reinterpret_cast<const float4*>(&shared.sum[w][row][d]), 1);
    }
    write_out(task, piece, kDim, row, d, sum, shared.merged[row].total);
  }
}

template <int kDim, int kRows>
__device__ void merge_warps(const AttentionTask& task,
                            const Cut& cut,
                            const Piece& piece,
                            const Attend<kDim, kRows>& own,
                            Handover<kDim, kRows>& shared) {
  __syncthreads();  // the queues were read
#pragma unroll
  for (int upper = 0; upper < kRows / 8; ++upper) {
    const int row = own.g + 8 * upper;
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 4) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int i = 2 * upper + c;
        const int d = j / 8 * 64 + 16 * own.t + 8 * c + j % 8;
        *reinterpret_cast<float4*>(&shared.sum[own.warp][row][d]) =
            float4{own.sum[j][i], own.sum[j + 1][i], own.sum[j + 2][i], own.sum[j + 3][i]};
      }
    }
    if (own.t == 0) shared.softmax[own.warp][row] = own.softmax[upper];
  }
  __syncthreads();
  const int place = cut.by_token ? piece.first_token : piece.row * cut.tokens;
  const int64_t first_partial =
      (int64_t{place} * task.heads() + piece.head * piece.queries) * cut.most_pieces;
  constexpr int kVectors = kDim / 4;
  for (int v = threadIdx.x; v < piece.queries * kVectors; v += kThreads) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    float largest = minus_infinity();
#pragma unroll
    for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, shared.softmax[w][row].largest);
    const float reference = reference_of(largest);
    float total = 0;
    float4 sum = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float by = exp2_approx(shared.softmax[w][row].largest - reference);
      total += shared.softmax[w][row].total * by;
      sum = scaled_sum(sum, *reinterpret_cast<const float4*>(&shared.sum[w][row][d]), by);
    }
    if (piece.count == 1) {
      write_out(task, piece, kDim, row, d, sum, total);
    } else {
      const int64_t at = first_partial + int64_t{piece.index} * piece.queries + row;
      __stcg(reinterpret_cast<float4*>(cut.partial + at * kDim + d), sum);
      if (d == 0) __stcg(cut.partial_softmax + at, float2{largest, total});
    }
  }
  if (piece.count > 1) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      const int unit = cut.by_token ? piece.first_token : piece.row;
      uint32_t* arrived = cut.arrived + unit * task.kv_heads + piece.head;
      const bool is_last = atomicAdd(arrived, 1u) == static_cast<uint32_t>(piece.count - 1);
      if (is_last) *arrived = 0;
      shared.is_last = is_last;
    }
    __syncthreads();
    if (shared.is_last != 0) {
      __threadfence();
      merge_pieces(task, cut, piece, first_partial, shared);
    }
  }
  __syncthreads();  // before the next piece's copies
}

template <int kDim, int kRows>
__global__ void __launch_bounds__(kThreads, Queue<kDim>::kBlocksPerMultiprocessor)
    decode(AttentionTask task, Cut cut) {
  extern __shared__ uint4 shared[];
  let_next_start();
  const auto units_of = [&](int row) {
    const int tokens = __ldg(task.row_start + row + 1) - __ldg(task.row_start + row);
    return tokens <= cut.longest ? (tokens + cut.tokens - 1) / cut.tokens : 0;
  };
  const auto items_of = [&](int row) {
    return units_of(row) * cut.pieces(__ldg(task.kv_len + row)) * task.kv_heads;
  };
  RowCursor cursor;
  int item = blockIdx.x;
  RowCursor::Place place = cursor.seek(item, task.rows, items_of);
  wait_for_previous();
  while (place.row >= 0) {
    Piece piece;
    piece.row = place.row;
    piece.keys = __ldg(task.kv_len + place.row);
    piece.count = cut.pieces(piece.keys);
    piece.head = place.within % task.kv_heads;
    piece.index = place.within / task.kv_heads % piece.count;
    const int skipped = place.within / task.kv_heads / piece.count * cut.tokens;
    const int row_end = __ldg(task.row_start + place.row + 1);
    piece.first_token = __ldg(task.row_start + place.row) + skipped;
    piece.queries = min(cut.tokens, row_end - piece.first_token) * task.group;
    piece.visible = piece.keys - (row_end - piece.first_token) + 1;
    const int piece_keys = piece.keys > 0 ? cut.piece_keys(piece.keys) : 0;
    piece.first_key = piece.index * piece_keys;
    piece.end_key = min(piece.first_key + piece_keys, piece.keys);
    {
      const int warp = threadIdx.x / 32;
      const int lane = threadIdx.x % 32;
      const int g = lane / 4;
      const int t = lane % 4;
      using Q = Queue<kDim>;
      Attend<kDim, kRows> own = {
          .task = task,
          .piece = piece,
          .queue = shared + warp * (Q::kStages * Q::kStageBytes / 16) + lane,
          .warp = warp,
          .g = g,
          .t = t,
          .key = static_cast<const __nv_bfloat16*>(task.key) + g * kDim + 8 * t,
          .value = static_cast<const __nv_bfloat16*>(task.value) + 2 * t * kDim + 8 * g,
          .block_shift = __ffs(task.block_tokens) - 1,
          .query = {},
          .sum = {},
          .softmax = {}};
      own.run();
      merge_warps(task, cut, piece, own, *reinterpret_cast<Handover<kDim, kRows>*>(shared));
    }
    item += static_cast<int>(gridDim.x);
    place = cursor.seek(item, task.rows, items_of);
  }
}

template <int kDim, int kRows>
void decode_with(const Stream& on, const AttentionTask& task, int longest) {
  static_assert(sizeof(Handover<kDim, kRows>) <= Queue<kDim>::kBytes);
  const bool by_token = task.tokens == task.rows;
  const int tokens = std::max(kRows / task.group, 1);
  CHECK(by_token || longest <= tokens);
  const int64_t places = by_token ? task.tokens : int64_t{task.rows} * tokens;
  const int64_t units = int64_t{task.rows} * task.kv_heads;
  CHECK(units <= Stream::kCounters);
  const int64_t most = on.partial_bytes() / (places * task.heads() * (kDim + 2) * 4);
  const int64_t partials = places * task.heads() * most;
  auto* partial = static_cast<float*>(on.partials());
  const Cut cut = {.longest = longest,
                   .tokens = tokens,
                   .units = static_cast<int>(units),
                   .multiprocessors = on.multiprocessors,
                   .most_pieces = static_cast<int>(std::clamp<int64_t>(most, 1, 1 << 20)),
                   .by_token = by_token,
                   .partial = partial,
                   .partial_softmax = reinterpret_cast<float2*>(partial + partials * kDim),
                   .arrived = on.counters()};
  using Q = Queue<kDim>;
  const int blocks = on.multiprocessors * Q::kBlocksPerMultiprocessor;
  launch(on, decode<kDim, kRows>, static_cast<unsigned>(blocks), kThreads, Q::kBytes, task, cut);
}

}  // namespace

void attention_decode(const Stream& on, const AttentionTask& task, int longest) {
  // Alone with one token each, few query heads need no more than half of the tensor core's rows.
  const bool narrow = task.tokens == task.rows && task.group <= 8;
  if (task.head_dim == 64) {
    return narrow ? decode_with<64, 8>(on, task, longest) : decode_with<64, 16>(on, task, longest);
  }
  CHECK(task.head_dim == 128);
  narrow ? decode_with<128, 8>(on, task, longest) : decode_with<128, 16>(on, task, longest);
}

}  // namespace switchyard::cuda
