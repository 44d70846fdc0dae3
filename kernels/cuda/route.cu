// The router. A block takes eight tokens: norms them, multiplies them with all experts' rows on
// tensor cores (its warps split the columns), and a warp chooses for each token. Up to eight tokens
// are one block and one step, which sorts the choices too; its weights are fetched before it waits.
// bytes: 2 * E * H a block, 4 * T * H.
#include "kernels/cuda/route.h"

#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/route_choose.cuh"
#include "kernels/cuda/route_sort.h"
#include "kernels/cuda/tile_load.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = 8;
constexpr int kPassTiles = 2;  // tiles of 16 experts that are multiplied at once
constexpr int kPassExperts = kPassTiles * kTileRows;
constexpr int kFetched = 2;  // tiles of columns a warp fetches before it waits
constexpr int kMaxExperts = 1024;
constexpr int kRowPadding = 8;  // of rows in shared memory, against bank conflicts

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

// Warps that share a row while it is normed: a power of two, the same for all rows.
__device__ __forceinline__ int warps_a_row(int count) {
  return count == 1 ? kWarps : count == 2 ? kWarps / 2 : count <= 4 ? kWarps / 4 : kWarps / 8;
}

// Norms the block's rows into args.normed and, if there, `staged` in shared memory.
template <int kCount>
__device__ void norm_tokens(const Router& args,
                            const float* gain,
                            int first,
                            int count,
                            __nv_bfloat16* staged,
                            int stride,
                            float (&squares_of_warp)[kWarps]) {
  using Vector = Channels<kCount>;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int share = warps_a_row(count);
  const int row = warp / share;
  const int step = share * 32 * kCount;
  const int begin = (static_cast<int>(threadIdx.x) - row * share * 32) * kCount;
  if (row >= count && gain == nullptr) return;
  const bool live = row < count;
  const int64_t token = first + (live ? row : 0);
  const int64_t from = args.gather != nullptr ? args.gather[token] : token;
  const __nv_bfloat16* x = args.x + from * args.width;
  const int end = live ? args.width : 0;
  typename Vector::Raw kept = {};  // the first piece; others come from L1 again
  if (begin < end) kept = Vector::load(x + begin);
  float value[kCount];
  float scale = 1;
  if (gain != nullptr) {
    float squares = 0;
#pragma unroll 2
    for (int i = begin; i < end; i += step) {
      Vector::widen(i == begin ? kept : Vector::load(x + i), value);
#pragma unroll
      for (int j = 0; j < kCount; ++j) squares += value[j] * value[j];
    }
    squares = sum_of_warp(squares);
    if (lane == 0) squares_of_warp[warp] = squares;
    __syncthreads();
    const float total = sum_of_warp(lane < share ? squares_of_warp[row * share + lane] : 0.0f);
    scale = rsqrtf(total / static_cast<float>(args.width) + args.epsilon);
  }
#pragma unroll 1
  for (int i = begin; i < end; i += step) {
    auto raw = i == begin ? kept : Vector::load(x + i);
    if (gain != nullptr) {
      float by[kCount];
      Vector::widen(raw, value);
      Vector::load(gain + i, by);
#pragma unroll
      for (int j = 0; j < kCount; ++j) value[j] = value[j] * scale * by[j];
      raw = Vector::narrow(value);
      *reinterpret_cast<typename Vector::Raw*>(args.normed + token * args.width + i) = raw;
    }
    if (staged != nullptr) {
      *reinterpret_cast<typename Vector::Raw*>(staged + row * stride + i) = raw;
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

// kAhead tiles of columns are fetched before the wait: for few blocks, whose time is that of one.
// Without them two blocks share a multiprocessor.
template <int kCount, int kAhead, bool kSort>
__global__ void __launch_bounds__(kThreads, kAhead > 0 ? 1 : 2)
    route_tokens(Router args, int stride) {
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
  const float* gain = args.gain;

  RouterTile ahead[kAhead > 0 ? kAhead : 1][kPassTiles];
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
#pragma unroll
    for (int r = 0; r < kPassTiles; ++r) load_tile(ahead[a][r], args, r, a * kWarps + warp, lane);
  }
  for (int e = threadIdx.x; e < args.experts; e += kThreads) {
    bias[e] = args.bias != nullptr ? __ldg(args.bias + e) : 0.0f;
  }
  const int first = static_cast<int>(blockIdx.x) * kTokens;
  const int count = min(kTokens, args.tokens - first);
  const int live = args.live_tokens != nullptr ? *args.live_tokens : args.tokens;
  if (staged != nullptr) {
    // Zeros behind the last token and behind the rows' ends; the gains, which are no activations.
    for (int r = 0; r < kTokens; ++r) {
      auto* row = reinterpret_cast<uint32_t*>(staged + r * stride);
      const int zero_from = r < count ? args.width / 2 : 0;
      for (int i = zero_from + static_cast<int>(threadIdx.x); i < stride / 2; i += kThreads) {
        row[i] = 0;
      }
    }
    if (gain != nullptr) {
      auto* copy = reinterpret_cast<float*>(staged + kTokens * stride);
      for (int i = threadIdx.x; i < args.width; i += kThreads) copy[i] = __ldg(gain + i);
      gain = copy;
    }
    __syncthreads();
  }
  let_next_start();
  wait_for_previous();
  norm_tokens<kCount>(args, gain, first, count, staged, stride, fixed.squares);
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
    const float* scores = score + warp * args.experts;
    int32_t* entries = entry + warp * args.top_k;
    if (first + warp >= live) {
      choose_none(args, first + warp, entries);
    } else if (args.experts <= 32) {
      choose_of_warp(args, first + warp, scores, bias, entries);
    } else {
      choose(args, first + warp, scores, bias, entries);
    }
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
                         args.live_tokens,
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
  const int64_t staged = kTokens * stride * 2 + stride * 4;  // and the gains
  const bool stages = fixed + staged <= on.shared_bytes;
  const int64_t shared = fixed + (stages ? staged : 0);
  const int stage_stride = stages ? static_cast<int>(stride) : 0;
  const bool eights = in_eights(router.width, {router.x, router.normed, router.gain});
  const int64_t blocks = ceil_div(router.tokens, kTokens);
  auto* kernel = blocks == 1
                     ? eights ? route_tokens<8, kFetched, true> : route_tokens<1, kFetched, true>
                 : blocks <= on.multiprocessors
                     ? eights ? route_tokens<8, kFetched, false> : route_tokens<1, kFetched, false>
                 : eights ? route_tokens<8, 0, false>
                          : route_tokens<1, 0, false>;
  launch(on, kernel, static_cast<unsigned>(blocks), kThreads, shared, router, stage_stride);
  if (blocks > 1) sort_by_expert(on, args.routing);
}

}  // namespace switchyard::cuda
