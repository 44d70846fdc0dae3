// The wide kernel of sm_90a: a warpgroup multiplies 64 rows of weights, made into bf16 operands in
// registers while the products before run, with a swizzled tile of tokens in shared memory.
// Included by one file per format. Scales must cover whole tiles: groups of 64 columns or more.
#pragma once

#include <algorithm>

#include "kernels/cuda/sm90/wgmma.cuh"
#include "kernels/cuda/wide_out.cuh"

namespace switchyard::cuda {
namespace {

template <WeightFormat kWeightFormat, int kTileTokens, int kAhead, int kCopied, int kBlocksTogether>
struct WgmmaShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr int kTokens = kTileTokens;
  static constexpr int kThreads = 256;
  static constexpr int kRowTiles = kThreads / 32;
  static constexpr int kRows = 16 * kRowTiles;
  static constexpr int kDepth = kAhead;    // tiles of weights in registers, even
  static constexpr int kStages = kCopied;  // tiles of tokens in shared memory
  static constexpr int kPerProcessor = kBlocksTogether;
  using Copies = TokenCopies<kTokens, 1, kThreads>;
  using Out = TileOut<kTokens, kRows, 1, kThreads>;
  static constexpr int64_t kSharedBytes =
      std::max<int64_t>(int64_t{kStages} * Copies::kStageBytes, Out::kSharedBytes);
  static_assert(kDepth % 2 == 0 && kStages >= 3);
};

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kPerProcessor)
    wide_wgmma(const __grid_constant__ WideArgs args) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  constexpr int kBlocks = Shape::kTokens / 8;
  extern __shared__ __align__(1024) char shared[];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  // What the experts are is known only from the kernel before; other weights never change.
  const bool experts = args.order != nullptr;
  if (experts) wait_for_previous();
  const Place place = locate<Shape::kTokens>(args);
  if (place.count <= 0) return;

  const WeightRow row = WeightRow::of<kFormat, Shape::kRowTiles>(args, place, warp);
  ScaledTile<kFormat> weights[Shape::kDepth];
#pragma unroll
  for (int d = 0; d < Shape::kDepth; ++d) {
    weights[d].load(args, row, place.begin + d, place.end, lane);
  }
  if (!experts) wait_for_previous();
  const typename Shape::Copies copies(args, place);
  const auto copy_stage = [&](int stage) {
    copies.start(shared + stage % Shape::kStages * Shape::Copies::kStageBytes, place.begin + stage);
    commit_copies();
  };
  // Two less than there is room for: one is being multiplied, the one before it perhaps still is.
#pragma unroll
  for (int s = 0; s < Shape::kStages - 2; ++s) copy_stage(s);

  float sum[kBlocks][4] = {};
  Fragment a[2][4];
#pragma unroll
  for (int j = 0; j < 4; ++j) a[0][j] = weights[0].fragment(j);
  weights[0].load(args, row, place.begin + Shape::kDepth, place.end, lane);
  const uint64_t operand = swizzled_operand(shared_address(shared));
  const int stages = place.end - place.begin;
  // Beyond the end both operands are zeros.
  for (int first = 0; first < stages; first += Shape::kDepth) {
#pragma unroll
    for (int d = 0; d < Shape::kDepth; ++d) {
      const int stage = first + d;
      wait_for_copies<Shape::kStages - 3>();
      publish_to_products();
      __syncthreads();
      begin_products();
      const uint64_t tile =
          operand + static_cast<uint32_t>(stage % Shape::kStages * Shape::Copies::kStageBytes >> 4);
#pragma unroll
      for (int j = 0; j < 4; ++j) wgmma<Shape::kTokens>(sum, a[d % 2][j], tile + 2 * j);
      commit_products();
      copy_stage(stage + Shape::kStages - 2);
      wait_for_products<1>();
      ScaledTile<kFormat>& next = weights[(d + 1) % Shape::kDepth];
#pragma unroll
      for (int j = 0; j < 4; ++j) a[(d + 1) % 2][j] = settled(next.fragment(j));
      next.load(args, row, place.begin + stage + 1 + Shape::kDepth, place.end, lane);
    }
  }
  wait_for_products<0>();
  wait_for_copies<0>();

  auto* out = reinterpret_cast<float*>(shared);
  using Out = typename Shape::Out;
  Out::run(args, place, out, [&](int from) {
    float* mine = out + lane % 4 * 2 * Out::kStride + warp * 16 + lane / 4;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      if (n * 8 < from || n * 8 >= from + Out::kChunk) continue;
      float* to = mine + (n * 8 - from) * Out::kStride;
      to[0] = sum[n][0];
      to[Out::kStride] = sum[n][1];
      to[8] = sum[n][2];
      to[Out::kStride + 8] = sum[n][3];
    }
  });
}

template <typename Shape>
void launch_shape(const Stream& on, const WideArgs& args, int64_t items) {
  launch(on, wide_wgmma<Shape>, wide_grid(args, Shape::kRows, items), Shape::kThreads,
         Shape::kSharedBytes, args);
}

}  // namespace

template <WeightFormat kFormat>
void launch_wide_wgmma(const Stream& on, const WideArgs& args, int tokens, int64_t items) {
  constexpr int kAhead = 2;
  switch (tokens) {
    case 64:
      return launch_shape<WgmmaShape<kFormat, 64, kAhead, 6, 2>>(on, args, items);
    case 128:
      return launch_shape<WgmmaShape<kFormat, 128, kAhead, 6, 1>>(on, args, items);
    case 256:
      return launch_shape<WgmmaShape<kFormat, 256, kAhead, 5, 1>>(on, args, items);
    default:
      CHECK(false);
  }
}

}  // namespace switchyard::cuda
