// The wide kernel for every architecture: mma.sync, weights by registers straight from memory, some
// stages ahead, tokens through shared memory. Included by one file per format.
#pragma once

#include <algorithm>

#include "kernels/cuda/wide_out.cuh"

namespace switchyard::cuda {
namespace {

// A warp owns two rows of tiles and every kColWarps-th tile of columns, for all tokens.
template <WeightFormat kWeightFormat,
          int kTileTokens,
          int kRowWarps,
          int kColumnWarps,
          int kAhead,
          int kBlocksTogether,
          bool kFineScales = false>
struct MmaShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  using Weights = ScaledTile<kFormat, kFineScales>;
  static constexpr int kTokens = kTileTokens;
  static constexpr int kColWarps = kColumnWarps;
  static constexpr int kWarps = kRowWarps * kColWarps;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRowTiles = 2 * kRowWarps;
  static constexpr int kRows = 16 * kRowTiles;
  static constexpr int kDepth = kAhead;  // stages of weights in registers
  static constexpr int kPerProcessor = kBlocksTogether;
  static constexpr int kStages = 4;  // stages of tokens in shared memory
  // Few tokens have fewer sums than weights: then the sums of a tile are scaled, not its weights.
  static constexpr bool kScaleSums = is_quantised(kFormat) && !kFineScales && kTokens <= 16;
  using Copies = TokenCopies<kTokens, kColWarps, kThreads>;
  using Out = TileOut<kTokens, kRows, kColWarps, kThreads>;
  static constexpr int64_t kSharedBytes =
      std::max<int64_t>(int64_t{kStages} * Copies::kStageBytes, Out::kSharedBytes);
};

template <bool kFirst, typename T>
__device__ __forceinline__ T& pick(T& first, T& second) {
  if constexpr (kFirst) return first;
  return second;
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kPerProcessor)
    wide_mma(const __grid_constant__ WideArgs args) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  constexpr int kBlocks = Shape::kTokens / 8;
  extern __shared__ __align__(128) char shared[];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int row_warp = warp / Shape::kColWarps;
  const int col_warp = warp % Shape::kColWarps;
  // What the experts are is known only from the kernel before; other weights never change.
  const bool experts = args.order != nullptr;
  if (experts) wait_for_previous();
  let_next_start();
  const Place place = locate<Shape::kTokens>(args);
  if (place.count <= 0) return;

  WeightRow row[2];
  typename Shape::Weights weights[Shape::kDepth][2];
  const auto load_weights = [&](typename Shape::Weights(&to)[2], int stage) {
    const int tile = place.begin + stage * Shape::kColWarps + col_warp;
#pragma unroll
    for (int r = 0; r < 2; ++r) to[r].load(args, row[r], tile, place.end, lane);
  };
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    row[r] = WeightRow::of<kFormat, Shape::kRowTiles>(args, place, 2 * row_warp + r);
  }
#pragma unroll
  for (int d = 0; d < Shape::kDepth; ++d) load_weights(weights[d], d);

  if (!experts) wait_for_previous();
  const typename Shape::Copies copies(args, place);
  const auto copy_stage = [&](int stage) {
    copies.start(shared + stage % Shape::kStages * Shape::Copies::kStageBytes,
                 place.begin + stage * Shape::kColWarps);
    commit_copies();
  };
#pragma unroll
  for (int s = 0; s < Shape::kStages - 1; ++s) copy_stage(s);

  float sum[2][kBlocks][4] = {};
  const int stages = (place.end - place.begin + Shape::kColWarps - 1) / Shape::kColWarps;
  // ldmatrix: lanes of one matrix give its rows, tokens; matrices are (8 tokens, 8 columns) at
  // (0, 0), (0, 8), (8, 0), (8, 8).
  const int lane_token = lane / 16 * 8 + lane % 8;
  const int lane_chunk = lane / 8 % 2;
  for (int first = 0; first < stages; first += Shape::kDepth) {
    for_each_constant<Shape::kDepth>([&](auto d) {
      const int stage = first + d;
      wait_for_copies<Shape::kStages - 2>();
      __syncthreads();
      copy_stage(stage + Shape::kStages - 1);
      const uint32_t tile = shared_address(shared) +
                            stage % Shape::kStages * Shape::Copies::kStageBytes +
                            col_warp * Shape::Copies::kTileBytes + lane_token * 128;
      float unscaled[2][kBlocks][4] = {};
      auto& into = pick<Shape::kScaleSums>(unscaled, sum);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const auto operand = [&](int r) {
          return Shape::kScaleSums ? weights[d][r].codes(j) : weights[d][r].fragment(j);
        };
        const Fragment a0 = operand(0);
        const Fragment a1 = operand(1);
        const uint32_t chunk = static_cast<uint32_t>((2 * j + lane_chunk) ^ (lane % 8)) << 4;
#pragma unroll
        for (int n = 0; n < kBlocks; n += 2) {
          uint32_t b[4];
          load_matrices(b, tile + n * 8 * 128 + chunk);
          mma(into[0][n], a0, b[0], b[1]);
          mma(into[1][n], a1, b[0], b[1]);
          mma(into[0][n + 1], a0, b[2], b[3]);
          mma(into[1][n + 1], a1, b[2], b[3]);
        }
      }
      if constexpr (Shape::kScaleSums) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float2 scale = weights[d][r].scales(0);
#pragma unroll
          for (int n = 0; n < kBlocks; ++n) {
            sum[r][n][0] += scale.x * unscaled[r][n][0];
            sum[r][n][1] += scale.x * unscaled[r][n][1];
            sum[r][n][2] += scale.y * unscaled[r][n][2];
            sum[r][n][3] += scale.y * unscaled[r][n][3];
          }
        }
      }
      load_weights(weights[d], stage + Shape::kDepth);
    });
  }
  wait_for_copies<0>();

  auto* out = reinterpret_cast<float*>(shared);
  using Out = typename Shape::Out;
  Out::run(args, place, out, [&](int from) {
    float* mine =
        out + col_warp * Out::kCopyFloats + lane % 4 * 2 * Out::kStride + row_warp * 32 + lane / 4;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      if (n * 8 < from || n * 8 >= from + Out::kChunk) continue;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float* to = mine + (n * 8 - from) * Out::kStride + r * 16;
        to[0] = sum[r][n][0];
        to[Out::kStride] = sum[r][n][1];
        to[8] = sum[r][n][2];
        to[Out::kStride + 8] = sum[r][n][3];
      }
    }
  });
}

template <typename Shape>
void launch_shape(const Stream& on, const WideArgs& args, int64_t items) {
  launch(on, wide_mma<Shape>, wide_grid(args, items), Shape::kThreads, Shape::kSharedBytes, args);
}

}  // namespace

template <WeightFormat kFormat>
void launch_wide_mma(const Stream& on, const WideArgs& args, const WideTile& tile, int64_t items) {
  // Stages ahead: 2 KiB of each row of tiles where registers allow.
  constexpr int kAhead = static_cast<int>(2048 / tile_bytes(kFormat));
  if constexpr (is_quantised(kFormat)) {
    if (1 << args.group_shift < kTileCols) {
      CHECK(tile.tokens == kFineTile.tokens);
      return launch_shape<MmaShape<kFormat, 64, 4, 2, 1, 1, true>>(on, args, items);
    }
  }
  // Unpacking int4 and int8 takes some registers more than four blocks leave.
  constexpr bool kIntegers = kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8;
  constexpr int kFewTogether = kIntegers ? 3 : 4;
  switch (tile.tokens) {
    case 16:
      return launch_shape<MmaShape<kFormat, 16, 2, 2, kAhead, kFewTogether>>(on, args, items);
    case 32:
      return launch_shape<MmaShape<kFormat, 32, 2, 2, std::min(kAhead, 2), kFewTogether>>(on, args,
                                                                                          items);
    case 64:
      return launch_shape<MmaShape<kFormat, 64, 4, 2, kAhead, 1>>(on, args, items);
    case 128:
      return launch_shape < MmaShape<kFormat, 128, 4, 1, kAhead<4 ? 1 : 2, 2>>(on, args, items);
    default:
      CHECK(false);
  }
}

}  // namespace switchyard::cuda
