// The router. A block takes eight tokens: norms them, multiplies them with all experts' rows on
// tensor cores (its warps split the columns), and a warp chooses for each token. Up to eight tokens
// are one block and one step, which sorts the choices too; its weights are fetched before it waits.
// bytes: 2 * E * H a block, 4 * T * H.
#include "kernels/cuda/route.h"

#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/route_sort.h"
#include "kernels/cuda/tile_load.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = 8;
constexpr int kPassTiles = 2;  // tiles of 16 experts that are multiplied at once
constexpr int kPassExperts = kPassTiles * kTileRows;
constexpr int kAhead = 2;  // tiles of columns a warp fetches before it waits
constexpr int kMaxExperts = 1024;
constexpr int kRowPadding = 8;  // of rows in shared memory, against bank conflicts

struct Router {
  const __nv_bfloat16* x;
  const float* gain;  // null: x is used as it is
  const int32_t* gather;
  __nv_bfloat16* normed;
  float epsilon;
  int tokens, width, experts;
  const char* weight;
  const float* bias;  // may be null
  int top_k;
  bool renormalise;
  float renormalise_epsilon, scale;
  int32_t* expert;
  float* chosen_weight;
  int32_t* order;
  int32_t* expert_start;
};

// What warps hand each other.
struct alignas(16) Reduction {
  float squares[kWarps];
  float partial[kWarps][kTokens][kPassExperts + 1];
};

using RouterTile = Tile<WeightFormat::kBf16>;

__device__ __forceinline__ void load_tile(
    RouterTile& tile, const Router& args, int row_tile, int col_tile, int lane) {
  const int across = (args.width + kTileCols - 1) / kTileCols;
  if (row_tile * kTileRows < args.experts && col_tile < across) {
    const int64_t number = int64_t{row_tile} * across + col_tile;
    tile.load(args.weight + number * RouterTile::kBytes, lane);
  } else {
    tile.clear();
  }
}

// Norms the block's rows into args.normed and, if there, shared memory [kTokens, stride], whose
// rows are zeros behind `width` and behind the last token.
template <int kCount>
__device__ void norm_tokens(const Router& args,
                            int first,
                            int count,
                            __nv_bfloat16* staged,
                            int stride,
                            float (&squares_of_warp)[kWarps]) {
  using Vector = Channels<kCount>;
  const int warp = threadIdx.x / 32;
  // Warps that share a row: a power of two, the same for all rows.
  const int share = count == 1 ? kWarps : count == 2 ? kWarps / 2 : count <= 4 ? kWarps / 4 : 2;
  const int row = warp / share;
  const int threads = share * 32;
  const int begin = (static_cast<int>(threadIdx.x) - row * threads) * kCount;
  const bool live = row < count;
  const int64_t token = first + (live ? row : 0);
  const int64_t from = args.gather != nullptr ? args.gather[token] : token;
  const __nv_bfloat16* x = args.x + from * args.width;
  float scale = 1;
  float value[kCount];
  if (args.gain != nullptr) {
    float squares = 0;
    if (live) {
#pragma unroll 2
      for (int i = begin; i < args.width; i += threads * kCount) {
        Vector::widen(Vector::load(x + i), value);
#pragma unroll
        for (int j = 0; j < kCount; ++j) squares += value[j] * value[j];
      }
    }
    squares = sum_of_warp(squares);
    if (threadIdx.x % 32 == 0) squares_of_warp[warp] = squares;
    __syncthreads();
    float total = 0;
    for (int w = 0; w < share; ++w) total += squares_of_warp[row * share + w];
    scale = rsqrtf(total / static_cast<float>(args.width) + args.epsilon);
  }
  if (live) {
#pragma unroll 1
    for (int i = begin; i < args.width; i += threads * kCount) {
      auto raw = Vector::load(x + i);
      if (args.gain != nullptr) {
        float by[kCount];
        Vector::widen(raw, value);
        Vector::load(args.gain + i, by);
#pragma unroll
        for (int j = 0; j < kCount; ++j) value[j] = value[j] * scale * by[j];
        raw = Vector::narrow(value);
        Vector::store(args.normed + token * args.width + i, value);
      }
      if (staged != nullptr) {
        *reinterpret_cast<typename Vector::Raw*>(staged + row * stride + i) = raw;
      }
    }
  }
  if (staged == nullptr) return;
  const int padded = (args.width + kTileCols - 1) / kTileCols * kTileCols;
  for (int r = 0; r < kTokens; ++r) {
    const int zero_from = r < count ? args.width : 0;
    for (int i = zero_from + static_cast<int>(threadIdx.x); i < padded; i += kThreads) {
      staged[r * stride + i] = __float2bfloat16_rn(0.0f);
    }
  }
}

// Two bf16 of row `g` of the block's tokens: from shared memory, or from rows in global memory
// (which have no padding).
struct Rows {
  const __nv_bfloat16* staged;
  int stride;
  const __nv_bfloat16* global;
  int count, width;

  __device__ __forceinline__ uint32_t pair(int g, int col) const {
    if (staged != nullptr) return *reinterpret_cast<const uint32_t*>(staged + g * stride + col);
    if (g >= count) return 0;
    const __nv_bfloat16* row = global + int64_t{g} * width;
    const float low = col < width ? __bfloat162float(row[col]) : 0.0f;
    const float high = col + 1 < width ? __bfloat162float(row[col + 1]) : 0.0f;
    return pack_bf16(low, high);
  }
};

__device__ __forceinline__ void multiply(float (&sum)[kPassTiles][4],
                                         const RouterTile (&tile)[kPassTiles],
                                         const Rows& rows,
                                         int col_tile,
                                         int lane) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int col = col_tile * kTileCols + j * 16 + lane % 4 * 2;
    const uint32_t b0 = rows.pair(lane / 4, col);
    const uint32_t b1 = rows.pair(lane / 4, col + 8);
#pragma unroll
    for (int r = 0; r < kPassTiles; ++r) mma(sum[r], tile[r].fragment(j), b0, b1);
  }
}

// Adds up the warps' sums for the experts of one pass, and scores them.
__device__ void finish_scores(const Router& args,
                              const float (&sum)[kPassTiles][4],
                              int first_expert,
                              Reduction& shared,
                              float* score) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int r = 0; r < kPassTiles; ++r) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      shared.partial[warp][lane % 4 * 2 + i % 2][r * kTileRows + lane / 4 + i / 2 * 8] = sum[r][i];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kTokens * kPassExperts; i += kThreads) {
    const int token = i / kPassExperts;
    const int expert = i % kPassExperts;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += shared.partial[w][token][expert];
    if (first_expert + expert < args.experts) {
      score[token * args.experts + first_expert + expert] = __fdiv_rn(1.0f, 1.0f + expf(-total));
    }
  }
  __syncthreads();
}

// Floats in the order of unsigned integers; NaN is the least, as -infinity.
__device__ __forceinline__ uint32_t rank_of(float selection) {
  if (isnan(selection)) return 0x007fffffu;
  const uint32_t bits = __float_as_uint(selection + 0.0f);  // of -0, too, those of 0
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// A warp chooses top_k experts of one token. `score` and `bias` are in shared memory.
__device__ void choose(
    const Router& args, int token, const float* score, const float* bias, int32_t* entry) {
  const int lane = threadIdx.x % 32;
  uint32_t taken = 0;  // bit i: expert lane + 32 i
  float total = 0;
  for (int k = 0; k < args.top_k; ++k) {
    uint32_t best = 0;
    uint32_t id = ~0u;
    for (int e = lane, i = 0; e < args.experts; e += 32, ++i) {
      const uint32_t rank = (taken >> i & 1u) != 0 ? 0u : rank_of(score[e] + bias[e]);
      if (rank > best) {
        best = rank;
        id = static_cast<uint32_t>(e);
      }
    }
    const uint32_t highest = __reduce_max_sync(~0u, best);
    const uint32_t winner = __reduce_min_sync(~0u, best == highest ? id : ~0u);
    if (winner % 32 == static_cast<uint32_t>(lane)) taken |= 1u << (winner / 32);
    total += score[winner];
    if (lane == 0) entry[k] = static_cast<int32_t>(winner);
  }
  __syncwarp();
  const float divisor = args.renormalise ? total + args.renormalise_epsilon : 1.0f;
  for (int k = lane; k < args.top_k; k += 32) {
    const int64_t at = int64_t{token} * args.top_k + k;
    args.expert[at] = entry[k];
    args.chosen_weight[at] = __fdiv_rn(score[entry[k]], divisor) * args.scale;
  }
}

// All entries are in shared memory: an entry's place is the number of those before it.
__device__ void sort_few(const Router& args, const int32_t* entry) {
  const int entries = args.tokens * args.top_k;
  for (int i = threadIdx.x; i < entries; i += kThreads) {
    const int mine = entry[i];
    int place = 0;
    for (int j = 0; j < entries; ++j) {
      place += entry[j] < mine || (entry[j] == mine && j < i) ? 1 : 0;
    }
    args.order[place] = i;
  }
  for (int e = threadIdx.x; e <= args.experts; e += kThreads) {
    int lower = 0;
    for (int j = 0; j < entries; ++j) lower += entry[j] < e ? 1 : 0;
    args.expert_start[e] = lower;
  }
}

template <int kCount, bool kSort>
__global__ void __launch_bounds__(kThreads) route_tokens(Router args, int stride) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  auto& fixed = *reinterpret_cast<Reduction*>(memory);
  auto* score = reinterpret_cast<float*>(memory + sizeof(Reduction));  // [kTokens, experts]
  float* bias = score + kTokens * args.experts;                        // [experts]
  auto* entry = reinterpret_cast<int32_t*>(bias + args.experts);       // [kTokens, top_k]
  const int words = (kTokens + 1) * args.experts + kTokens * args.top_k;
  unsigned char* rest = memory + sizeof(Reduction) + (words + 3) / 4 * 16;
  __nv_bfloat16* staged = stride == 0 ? nullptr : reinterpret_cast<__nv_bfloat16*>(rest);

  RouterTile ahead[kAhead][kPassTiles];
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
#pragma unroll
    for (int r = 0; r < kPassTiles; ++r) load_tile(ahead[a][r], args, r, a * kWarps + warp, lane);
  }
  for (int e = threadIdx.x; e < args.experts; e += kThreads) {
    bias[e] = args.bias != nullptr ? __ldg(args.bias + e) : 0.0f;
  }
  let_next_start();
  wait_for_previous();

  const int first = static_cast<int>(blockIdx.x) * kTokens;
  const int count = min(kTokens, args.tokens - first);
  norm_tokens<kCount>(args, first, count, staged, stride, fixed.squares);
  __syncthreads();
  const __nv_bfloat16* global = args.gain != nullptr ? args.normed : args.x;
  const Rows rows = {staged, stride, global + int64_t{first} * args.width, count, args.width};

  const int across = (args.width + kTileCols - 1) / kTileCols;
  float sum[kPassTiles][4] = {};
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
    if (a * kWarps + warp < across) multiply(sum, ahead[a], rows, a * kWarps + warp, lane);
  }
  int col_tile = kAhead * kWarps + warp;
  for (int pass = 0;; ++pass) {
    for (; col_tile < across; col_tile += kWarps) {
      RouterTile tile[kPassTiles];
#pragma unroll
      for (int r = 0; r < kPassTiles; ++r) {
        load_tile(tile[r], args, pass * kPassTiles + r, col_tile, lane);
      }
      multiply(sum, tile, rows, col_tile, lane);
    }
    finish_scores(args, sum, pass * kPassExperts, fixed, score);
    if ((pass + 1) * kPassExperts >= args.experts) break;
    col_tile = warp;
#pragma unroll
    for (int r = 0; r < kPassTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[r][i] = 0;
    }
  }
  if (warp < count) {
    choose(args, first + warp, score + warp * args.experts, bias, entry + warp * args.top_k);
  }
  if constexpr (kSort) {
    __syncthreads();
    sort_few(args, entry);
  }
}

}  // namespace

void route(const Stream& on, const RouteArgs& args) {
  CHECK(args.router.format == WeightFormat::kBf16 && args.router.rows <= kMaxExperts);
  const NormedInput& input = args.input;
  const RouterSpec& spec = args.spec;
  const bool normed = !input.gain.empty();
  const Router router = {static_cast<const __nv_bfloat16*>(input.x.data),
                         normed ? input.gain.f32() : nullptr,
                         input.gather,
                         static_cast<__nv_bfloat16*>(input.normed.data),
                         input.epsilon,
                         static_cast<int>(input.rows().dim(0)),
                         static_cast<int>(args.router.cols),
                         static_cast<int>(args.router.rows),
                         static_cast<const char*>(args.router.data),
                         args.bias.empty() ? nullptr : args.bias.f32(),
                         spec.top_k,
                         spec.renormalise_epsilon.has_value(),
                         spec.renormalise_epsilon.value_or(0.0f),
                         spec.scale,
                         args.routing.expert.i32(),
                         args.routing.weight.f32(),
                         args.routing.order.i32(),
                         args.routing.expert_start.i32()};
  if (router.tokens == 0) return sort_by_expert(on, args.routing);
  // The tokens' rows are staged in shared memory where they fit beside the rest of it.
  const int64_t words = (kTokens + 1) * args.router.rows + kTokens * spec.top_k;
  const auto fixed = static_cast<int64_t>(sizeof(Reduction)) + ceil_div(words, 4) * 16;
  const int64_t stride = col_tiles(router.width) * kTileCols + kRowPadding;
  const int64_t staged = kTokens * stride * 2;
  const bool stages = fixed + staged <= on.shared_bytes;
  const int64_t shared = fixed + (stages ? staged : 0);
  const int stage_stride = stages ? static_cast<int>(stride) : 0;
  const bool eights = in_eights(router.width, {router.x, router.normed, router.gain});
  if (router.tokens <= kTokens) {
    launch(on, eights ? route_tokens<8, true> : route_tokens<1, true>, 1, kThreads, shared, router,
           stage_stride);
    return;
  }
  launch(on, eights ? route_tokens<8, false> : route_tokens<1, false>,
         static_cast<unsigned>(ceil_div(router.tokens, kTokens)), kThreads, shared, router,
         stage_stride);
  sort_by_expert(on, args.routing);
}

}  // namespace switchyard::cuda
