// The kernel of decode attention, for teams of one block or of several (attention_merge.cuh). The
// warps of a team take granules of 16 keys of a piece in turn, for all queries of one kv head. A
// warp has two places for granules in shared memory and waits for no other before the piece ends.
//
// Keys of steps before are fetched while the kernels before this one still run: they were written
// before the batch's arrays were uploaded, so those kernels do not write them.
//
// bytes: 2 * kv_len * kv_heads * head_dim * 2 of the cache, and 8 / (keys of a piece) of that where
// a row has several.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cuda/attention_granule.cuh"
#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

// kHeadDim: 64 or 128. kQueries: that a block has room for, 8 or 16; with 8 every unit is a token.
template <int kHeadDim, int kQueries>
struct DecodeShape {
  static constexpr int kDim = kHeadDim;
  static constexpr int kRows = kQueries;
  static constexpr bool kOneToken = kRows == 8;
  static constexpr int kWarps = 512 / kDim;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kBlocksPerMultiprocessor = 2;
  static constexpr int kWarpBytes = 2 * Granule<kDim>::kBytes;
  static constexpr int kQueueBytes = kWarps * kWarpBytes;
  using Shares = WarpShares<kDim, kRows, kWarpBytes>;
};

// Copies a warp's granules of one piece, every step-th key's from `first` on.
template <int kDim>
class Copies {
 public:
  __device__ Copies(
      const AttentionTask& task, const Piece& piece, uint32_t queue, int first, int step)
      : task_(task), piece_(piece), queue_(queue), step_(step), key_(first) {
    block_shift_ = __ffs(task.block_tokens) - 1;
    find_block();
  }
  // Whether the next granule, if there is one, holds keys of steps before alone.
  [[nodiscard]] __device__ bool is_old() const {
    return key_ < piece_.end_key && key_ + kGranule <= piece_.old;
  }
  // Starts copying the next granule to place 0 or 1; nothing if there is none.
  __device__ __forceinline__ void start(int place) {
    if (key_ < piece_.end_key) {
      Granule<kDim>::copy(task_, block_, piece_.head, key_, piece_.keys,
                          queue_ + place * Granule<kDim>::kBytes);
      key_ += step_;
      find_block();
    }
    commit_copies();
  }
  // Brings the next two granules nearer, without reading them.
  __device__ __forceinline__ void prefetch() const {
    const int lane = threadIdx.x % 32;
    const int key = key_ + lane * step_;
    if (lane >= 2 || key >= piece_.end_key) return;
    const int block = __ldg(piece_.blocks + (key >> block_shift_));
    const int64_t from = Granule<kDim>::place_in(task_, block, piece_.head, key);
    constexpr int kBytes = Granule<kDim>::kBytes / 2;
    prefetch_bytes<kBytes>(static_cast<const __nv_bfloat16*>(task_.key) + from);
    prefetch_bytes<kBytes>(static_cast<const __nv_bfloat16*>(task_.value) + from);
  }

 private:
  __device__ __forceinline__ void find_block() {
    if (key_ < piece_.end_key) block_ = __ldg(piece_.blocks + (key_ >> block_shift_));
  }

  const AttentionTask& task_;
  const Piece& piece_;
  uint32_t queue_;
  int step_;
  int block_shift_;
  int key_;        // the next granule's first
  int block_ = 0;  // where it lies
};

template <typename Shape, typename Team>
constexpr int decode_shared_bytes() {
  return Shape::kQueueBytes + Team::kSharedBytes + static_cast<int>(sizeof(int));
}

// The whole kernel; shared memory: decode_shared_bytes().
template <typename Shape, typename Team>
__device__ __forceinline__ void decode_pieces(const AttentionTask& task, const Cut& cut) {
  using G = Granule<Shape::kDim>;
  extern __shared__ uint4 shared[];
  let_next_start();
  auto* memory = reinterpret_cast<char*>(shared);
  Team team(memory + Shape::kQueueBytes);
  auto& is_last = *reinterpret_cast<int*>(memory + Shape::kQueueBytes + Team::kSharedBytes);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const auto* queue = reinterpret_cast<const uint4*>(memory + warp * Shape::kWarpBytes);
  const float scale = task.scale * 1.4426950408889634f;
  bool waited = false;
  const auto wait_once = [&waited] {
    if (!waited) wait_for_previous();
    waited = true;
  };
  // Lengths and blocks are the host's: no kernel before this one writes them.
  PieceCursor cursor(task, cut, team.index());
#pragma unroll 1
  for (;;) {
    const Piece piece = cursor.next();
    if (piece.queries == 0) break;
    if (waited) __syncthreads();  // the piece before has left shared memory
    const int queries = Shape::kOneToken ? task.group : piece.queries;
    team.begin(queries);
    const int first = piece.first_key + (team.block() * Shape::kWarps + warp) * kGranule;
    const int step = team.blocks() * Shape::kWarps * kGranule;
    Copies<Shape::kDim> copies(task, piece, shared_address(queue), first, step);
    if (!waited) copies.prefetch();
    if (!copies.is_old()) wait_once();
    copies.start(0);
    wait_once();
    Attend<Shape::kDim, Shape::kRows> own;
    own.begin(queries, lane,
              [&](int row) { return task.q + place_of_query<Shape>(task, piece, row); });
    // Unused queries see what the first does, and are never looked at.
    const auto seen_by = [&](int row) {
      const int token = Shape::kOneToken || row >= queries ? 0 : row / task.group;
      return piece.visible + token - lane % 4 * 2;
    };
    const int see_low = seen_by(lane / 4);
    const int see_high = seen_by(lane / 4 + 8);
    int place = 0;
#pragma unroll 1
    for (int key = first; key < piece.end_key; key += step) {
      wait_for_copies<0>();
      __syncwarp();
      copies.start(place ^ 1);  // over the granule before this one, which was used up
      own.add(queue + place * G::kChunks, {see_low - key, see_high - key}, scale);
      place ^= 1;
    }
    __syncwarp();
    const typename Shape::Shares shares{memory};
    own.hand_over(shares, warp, lane);
    __syncthreads();
    finish_piece<Shape>(task, cut, piece, team, shares, is_last);
  }
  // One block always waits, so that the next kernel waits for those before this one too.
  if (blockIdx.x == 0) wait_once();
}

// Starts `kernel`, which is decode_pieces<Shape, Team>, for teams of `blocks` blocks, a power of
// two.
template <typename Shape, typename Team>
void launch_decode(const Stream& on,
                   void (*kernel)(AttentionTask, Cut),
                   const AttentionTask& task,
                   int longest,
                   int64_t blocks) {
  const bool by_token = task.tokens == task.rows;
  const int64_t items = int64_t{task.rows} * task.kv_heads;
  const int64_t queries = int64_t{task.group} * (by_token ? 1 : longest);
  CHECK(queries <= Shape::kRows && (by_token || !Shape::kOneToken));
  CHECK(items * blocks <= Stream::kCounters);
  const int64_t teams = int64_t{on.multiprocessors} * Shape::kBlocksPerMultiprocessor / blocks;
  // Several blocks were chosen to keep the device busy.
  const int64_t busy_pieces = blocks == 1 ? std::max<int64_t>(teams / items, 1) : 1;
  // Long pieces cost less, short ones let more teams share a row that is longer than others.
  const int longest_shift =
      11 + std::countr_zero(static_cast<uint64_t>(blocks)) + (items >= 4 * teams ? 1 : 0);
  const int64_t most = on.partial_bytes() / (items * queries * (task.head_dim + 2 * blocks) * 4);
  const int64_t most_pieces = std::clamp<int64_t>(most, 1, 1 << 20);
  auto* partial = static_cast<float*>(on.partials());
  const Cut cut = {.units = task.rows,
                   .by_token = by_token,
                   .longest = longest,
                   .busy_pieces = static_cast<int>(busy_pieces),
                   .longest_shift = longest_shift,
                   .most_pieces = static_cast<int>(most_pieces),
                   .items = static_cast<int>(items),
                   .extra_teams = static_cast<int>(teams),
                   .most_queries = static_cast<int>(queries),
                   .partial = partial,
                   .partial_softmax = reinterpret_cast<float2*>(
                       partial + items * most_pieces * queries * task.head_dim),
                   .arrived = on.counters()};
  launch_in_clusters(on, static_cast<unsigned>(blocks), kernel,
                     static_cast<unsigned>((items + teams) * blocks), Shape::kThreads,
                     decode_shared_bytes<Shape, Team>(), task, cut);
}

}  // namespace switchyard::cuda
