// The keys of a row are cut into pieces; a block takes a piece for all queries of one kv head, its
// warps take granules of 16 keys of it in turn. The last block of a row's kv head to end adds up
// the pieces (attention_merge.cuh).
//
// The indices that an mma sums over, and the columns of its result, may be in any order, so every
// lane takes 16-byte chunks of keys and values whose words are operands as they lie. A warp has its
// own queue of granules in shared memory and waits for no other warp before a piece ends. Copies
// run ahead of the arithmetic over the ends of pieces.
//
// bytes: 2 * kv_len * kv_heads * head_dim * 2 of the cache, and 8 / (keys of a piece) of that.
#include <algorithm>

#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/attention_piece.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = kDecodeWarps * 32;

// kRows: queries that a block has room for, 8 or 16.
template <int kDim, int kRows>
struct Shape {
  static constexpr int kStages = kDim == 128 ? 2 : kRows == 8 ? 4 : 3;
  static constexpr int kAhead = kStages - 1;
  static constexpr int kBlocksPerMultiprocessor = kDim == 64 ? 3 : 2;
  static constexpr int kKeyChunks = kDim / 32;  // of a lane, of one key
  static constexpr int kHalves = kDim / 64;
  static constexpr int kCopies = 2 * kKeyChunks + 4 * kHalves;  // of a lane, of a granule
  static constexpr int kStageChunks = kCopies * 32;             // of a warp: keys, then values
  static constexpr int kRowChunks = kDim / 8;
  static constexpr int kQueueBytes = kDecodeWarps * kStages * kStageChunks * 16;
  static constexpr int kBytes = kQueueBytes + static_cast<int>(sizeof(Handover<kDim, kRows>));
};

// Where a chunk of a granule's key or value lies in the queue: so that those that the lanes read
// together (Attend::add) share no bank.
template <int kDim>
__device__ __forceinline__ int place_of(int row, int chunk) {
  return row * (kDim / 8) + (chunk ^ ((row & 1) << 2) ^ (row & 6));
}

// Copies a warp's granules, those of all its pieces in order.
template <int kDim, int kRows>
class Copies {
 public:
  using S = Shape<kDim, kRows>;

  __device__ Copies(const AttentionTask& task, const Cut& cut, const uint4* queue)
      : task_(task), cursor_(task, cut), queue_(shared_address(queue)) {
    block_shift_ = __ffs(task.block_tokens) - 1;
    begin_piece();
    find_granule();
  }

  // Starts copying the next granule to place `stage` of the queue; nothing if there is none.
  __device__ __forceinline__ void start(int stage) {
    if (piece_.row >= 0) {
      const uint32_t to = queue_ + stage * (S::kStageChunks * 16);
      each_chunk([to](const __nv_bfloat16* from, int place, bool valid) {
        copy_async(to + place * 16, from, valid);
      });
      key_ += kLeastPiece;
      find_granule();
    }
    commit_copies();
  }
  // Brings the next granule nearer, without reading it.
  __device__ __forceinline__ void prefetch() const {
    if (piece_.row < 0) return;
    each_chunk([](const __nv_bfloat16* from, int, bool) {
      asm volatile("prefetch.global.L2 [%0];" : : "l"(from));
    });
  }

 private:
  __device__ __forceinline__ void begin_piece() {
    piece_ = cursor_.next();
    key_ = piece_.first_key + static_cast<int>(threadIdx.x) / 32 * kGranule;
    if (piece_.row >= 0) blocks_ = task_.block_id + __ldg(task_.block_start + piece_.row);
  }
  __device__ __forceinline__ void find_granule() {
    while (piece_.row >= 0 && key_ >= piece_.end_key) begin_piece();
    if (piece_.row >= 0) block_ = __ldg(blocks_ + (key_ >> block_shift_));
  }
  template <typename Each>
  __device__ __forceinline__ void each_chunk(const Each& each) const {
    const int in_block = key_ & (task_.block_tokens - 1);
    const int64_t place =
        ((int64_t{block_} * task_.kv_heads + piece_.head) * task_.block_tokens + in_block) * kDim;
    const int lane = threadIdx.x % 32;
    const int row = lane / S::kRowChunks;
    constexpr int kRowsAtOnce = 32 / S::kRowChunks;
#pragma unroll
    for (int i = 0; i < S::kCopies; ++i) {
      constexpr int kHalf = S::kCopies / 2;
      const void* cache = i < kHalf ? task_.key : task_.value;
      const int r = row + i % kHalf * kRowsAtOnce;
      each(static_cast<const __nv_bfloat16*>(cache) + place + (i % kHalf * 32 + lane) * 8,
           i / kHalf * (S::kStageChunks / 2) + place_of<kDim>(r, lane % S::kRowChunks),
           key_ + r < piece_.keys);
    }
  }

  const AttentionTask& task_;
  PieceCursor cursor_;
  uint32_t queue_;
  int block_shift_;
  Piece piece_;
  const int32_t* blocks_ = nullptr;
  int key_ = 0;    // the next granule's first
  int block_ = 0;  // where it lies
};

// Four logits of one query become exponentials. Returns what older sums must be multiplied with.
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

// A warp's queries against its granules of one piece.
template <int kDim, int kRows>
struct Attend {
  using S = Shape<kDim, kRows>;
  static constexpr bool kUpper = kRows > 8;  // the second 8 rows of the mma hold queries

  Fragment query[kDim / 16];
  float sum[kDim / 8][4];
  Softmax softmax[2];

  __device__ __forceinline__ void begin(const AttentionTask& task, const Piece& piece, int lane) {
    const auto chunk = [&](int row, int c) -> uint4 {
      if (row >= piece.queries) return {0, 0, 0, 0};
      const int token = row / task.group;
      const int head = piece.head * task.group + row - token * task.group;
      const int64_t at = int64_t{piece.first_token + token} * task.heads() + head;
      return *reinterpret_cast<const uint4*>(task.q + at * kDim + 8 * (lane % 4) + 32 * c);
    };
#pragma unroll
    for (int c = 0; c < S::kKeyChunks; ++c) {
      const uint4 low = chunk(lane / 4, c);
      const uint4 high = kUpper ? chunk(lane / 4 + 8, c) : uint4{0, 0, 0, 0};
      query[2 * c] = {{low.x, high.x, low.y, high.y}};
      query[2 * c + 1] = {{low.z, high.z, low.w, high.w}};
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
    softmax[0] = softmax[1] = {minus_infinity(), 0};
  }

  // `from`: the granule. `see`: how many of the granule's keys, from
  // this lane's first one on, queries g and g + 8 see.
  __device__ __forceinline__ void add(const uint4* from, const int (&see)[2], float scale) {
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
    float logit[2][4] = {};
#pragma unroll
    for (int c = 0; c < S::kKeyChunks; ++c) {
      const uint4 chunk[2] = {from[place_of<kDim>(g, t + 4 * c)],
                              from[place_of<kDim>(8 + g, t + 4 * c)]};
      mma(logit[0], query[2 * c], chunk[0].x, chunk[0].y);
      mma(logit[1], query[2 * c], chunk[1].x, chunk[1].y);
      mma(logit[0], query[2 * c + 1], chunk[0].z, chunk[0].w);
      mma(logit[1], query[2 * c + 1], chunk[1].z, chunk[1].w);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i / 4 * 8 + i % 2 >= see[i % 4 / 2]) logit[i / 4][i % 4] = minus_infinity();
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
#pragma unroll
      for (int i = 0; i < (kUpper ? 4 : 2); ++i) sum[j][i] *= shrink[i / 2];
    }
#pragma unroll
    for (int h = 0; h < S::kHalves; ++h) {
      uint32_t v[4][4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const uint4 chunk =
            from[S::kStageChunks / 2 + place_of<kDim>(2 * t + p % 2 + p / 2 * 8, g + 8 * h)];
        v[p][0] = chunk.x;
        v[p][1] = chunk.y;
        v[p][2] = chunk.z;
        v[p][3] = chunk.w;
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

  __device__ __forceinline__ void hand_over(Handover<kDim, kRows>& shared, int warp, int lane) {
#pragma unroll
    for (int upper = 0; upper < kRows / 8; ++upper) {
      const int row = lane / 4 + 8 * upper;
#pragma unroll
      for (int j = 0; j < kDim / 8; j += 4) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int i = 2 * upper + c;
          shared.at(warp, row, j / 8 * 64 + 16 * (lane % 4) + 8 * c + j % 8) =
              float4{sum[j][i], sum[j + 1][i], sum[j + 2][i], sum[j + 3][i]};
        }
      }
      Softmax one = softmax[upper];
      one.total += __shfl_xor_sync(~0u, one.total, 1);
      one.total += __shfl_xor_sync(~0u, one.total, 2);
      if (lane % 4 == 0) shared.softmax[warp][row] = one;
    }
  }
};

template <int kDim, int kRows>
__global__ void __launch_bounds__(kThreads, Shape<kDim, kRows>::kBlocksPerMultiprocessor)
    decode(const __grid_constant__ AttentionTask task, const __grid_constant__ Cut cut) {
  using S = Shape<kDim, kRows>;
  extern __shared__ uint4 shared[];
  let_next_start();
  auto& handover =
      *reinterpret_cast<Handover<kDim, kRows>*>(reinterpret_cast<char*>(shared) + S::kQueueBytes);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const uint4* queue = shared + warp * (S::kStages * S::kStageChunks);
  // Lengths and blocks are the host's: no kernel before this one writes them.
  Copies<kDim, kRows> copies(task, cut, queue);
  copies.prefetch();
  PieceCursor cursor(task, cut);
  Piece piece = cursor.next();
  wait_for_previous();
  if (piece.row < 0) return;
#pragma unroll
  for (int stage = 0; stage < S::kAhead; ++stage) copies.start(stage);
  const float scale = task.scale * 1.4426950408889634f;
  int stage = 0;
  for (; piece.row >= 0; piece = cursor.next()) {
    Attend<kDim, kRows> own;
    own.begin(task, piece, lane);
    // Unused queries see what the first does, and are never looked at.
    const int low = lane / 4 < piece.queries ? lane / 4 : 0;
    const int high = lane / 4 + 8 < piece.queries ? lane / 4 + 8 : 0;
    const int see_low = piece.visible + low / task.group - lane % 4 * 2;
    const int see_high = piece.visible + high / task.group - lane % 4 * 2;
    for (int key = piece.first_key + warp * kGranule; key < piece.end_key; key += kLeastPiece) {
      wait_for_copies<S::kAhead - 1>();
      __syncwarp();
      // Over the granule before this one, which was used up.
      copies.start(stage == 0 ? S::kAhead : stage - 1);
      own.add(queue + stage * S::kStageChunks, {see_low - key, see_high - key}, scale);
      stage = stage == S::kStages - 1 ? 0 : stage + 1;
    }
    own.hand_over(handover, warp, lane);
    finish_piece(task, cut, piece, handover);
  }
}

template <int kDim, int kRows>
void decode_with(const Stream& on, const AttentionTask& task, int longest) {
  using S = Shape<kDim, kRows>;
  const bool by_token = task.tokens == task.rows;
  const int tokens = std::max(kRows / task.group, 1);
  CHECK(by_token || longest <= tokens);
  const int64_t places = by_token ? task.tokens : int64_t{task.rows} * tokens;
  const int64_t units = int64_t{task.rows} * task.kv_heads;
  CHECK(units <= Stream::kCounters);
  const int64_t most = on.partial_bytes() / (places * task.heads() * (kDim + 2) * 4);
  auto* partial = static_cast<float*>(on.partials());
  const int blocks = on.multiprocessors * S::kBlocksPerMultiprocessor;
  const Cut cut = {
      .longest = longest,
      .tokens = tokens,
      .share = static_cast<float>(units) / static_cast<float>(on.multiprocessors),
      .most_pieces = static_cast<int>(std::clamp<int64_t>(most, 1, 1 << 20)),
      .pieces_at_once = static_cast<int>(blocks / units),
      .by_token = by_token,
      .partial = partial,
      .partial_softmax = reinterpret_cast<float2*>(partial + places * task.heads() * most * kDim),
      .arrived = on.counters()};
  launch(on, decode<kDim, kRows>, static_cast<unsigned>(blocks), kThreads, S::kBytes, task, cut);
}

}  // namespace

void attention_decode(const Stream& on, const AttentionTask& task, int longest) {
  // With about one token each, few query heads need no more than half of a tensor core's rows.
  const bool narrow = task.tokens == task.rows && task.group <= 8;
  if (task.head_dim == 64) {
    return narrow ? decode_with<64, 8>(on, task, longest) : decode_with<64, 16>(on, task, longest);
  }
  CHECK(task.head_dim == 128);
  narrow ? decode_with<128, 8>(on, task, longest) : decode_with<128, 16>(on, task, longest);
}

}  // namespace switchyard::cuda
