// A block multiplies a few row tiles of weights with a tile of tokens. Weights go to registers
// straight from memory, some stages ahead and, since they never change, before the kernel waits for
// the one before; tokens go through shared memory. Few tokens are bound by memory: then the warps
// of a block split the columns of one row tile. Many are bound by the tensor cores and by what
// shared memory gives them: then a warp has 64 rows for each token it fetches.
#include "kernels/cuda/sparse.h"

#include <algorithm>
#include <bit>

#include "kernels/cuda/sparse_tile.cuh"
#include "kernels/cuda/wide_out.cuh"

namespace switchyard::cuda {
namespace {

// How a block's warps divide its tile of the result: kRowWarps by rows, and kColWarps by columns,
// whose sums are added up at the end.
template <int kBlockTokens,
          int kRowTilesOfWarp,
          int kRowWarpsOfBlock,
          int kColWarpsOfBlock,
          int kAhead,
          int kBlocksTogether>
struct SparseShape {
  static constexpr int kTokens = kBlockTokens;
  static constexpr int kWarpRowTiles = kRowTilesOfWarp;
  static constexpr int kRowWarps = kRowWarpsOfBlock;
  static constexpr int kColWarps = kColWarpsOfBlock;
  static constexpr int kDepth = kAhead;                  // stages of weights in registers
  static constexpr int kPerProcessor = kBlocksTogether;  // blocks that run together
  static constexpr int kThreads = 32 * kRowWarps * kColWarps;
  static constexpr int kRowTiles = kRowWarps * kWarpRowTiles;
  static constexpr int kRows = kTileRows * kRowTiles;
  static constexpr int kStages = 3;  // of tokens in shared memory: as much as sm_86 has
  // Few tokens have fewer sums than weights: then the sums are scaled, not the weights.
  static constexpr bool kScaleSums = kTokens == 8;
  using Copies = TokenCopies<kTokens, 2 * kColWarps, kThreads>;
  using Out = TileOut<kTokens, kRows, kColWarps, kThreads>;
};
using FewTokens = SparseShape<8, 1, 1, 4, 4, 6>;
using FewTokensLongRows = SparseShape<8, 1, 1, 16, 4, 1>;
using Tokens32 = SparseShape<32, 1, 2, 4, 4, 2>;
using Tokens64 = SparseShape<64, 1, 4, 2, 4, 2>;
using MoreTokens = SparseShape<64, 2, 4, 2, 3, 1>;
using ManyTokens = SparseShape<64, 4, 4, 1, 2, 2>;

// What TokenCopies does, with less arithmetic, for stages that lack neither tokens nor columns:
// with many tokens those are nearly all.
template <typename Shape>
class WholeCopies {
 public:
  __device__ __forceinline__ WholeCopies(const WideArgs& args, const Place& place)
      : from_(reinterpret_cast<const char*>(
            args.x + int64_t{place.first + static_cast<int>(threadIdx.x / 8)} * args.cols +
            threadIdx.x % 8 * 8)),
        stride_(int64_t{kRowsAtOnce} * args.cols * 2),
        end_(kUsed && args.x_aligned && place.count == Shape::kTokens
                 ? min(place.end, args.cols / kTileCols)
                 : 0),
        to_(threadIdx.x / 8 * 128 + ((threadIdx.x % 8 ^ threadIdx.x / 8 % 8) << 4)) {}

  // False, and nothing done, where the stage is not whole.
  __device__ __forceinline__ bool start(char* stage, int tile) const {
    if (!kUsed || tile + kTiles > end_) return false;
    const uint32_t to = shared_address(stage) + to_;
    const char* from = from_ + int64_t{tile} * (kTileCols * 2);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        copy_async(to + (i * Shape::kTokens + r * kRowsAtOnce) * 128,
                   from + r * stride_ + i * (kTileCols * 2));
      }
    }
    return true;
  }

 private:
  static constexpr int kTiles = 2 * Shape::kColWarps;
  static constexpr int kRowsAtOnce = Shape::kThreads / 8;
  static constexpr bool kUsed = Shape::kTokens >= 64;
  static constexpr int kRows = kUsed ? Shape::kTokens / kRowsAtOnce : 0;

  const char* from_;
  int64_t stride_;
  int end_;  // tiles of 64 columns
  uint32_t to_;
};

// WideArgs, with k_tiles that are of 128 columns.
template <typename Shape, bool kFine>
__global__ void __launch_bounds__(Shape::kThreads, kFine ? 1 : Shape::kPerProcessor)
    sparse_kernel(const __grid_constant__ WideArgs args) {
  constexpr int kRowTiles = Shape::kWarpRowTiles;
  constexpr int kBlocks = Shape::kTokens / 8;
  extern __shared__ __align__(128) char shared[];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int col_warp = warp % Shape::kColWarps;
  const int row_warp = warp / Shape::kColWarps;

  const int begin = args.k_tiles * static_cast<int>(blockIdx.z) / args.splits;
  const int end = args.k_tiles * (static_cast<int>(blockIdx.z) + 1) / args.splits;
  const int item = static_cast<int>(args.tokens_fastest ? blockIdx.x : blockIdx.y);
  Place place;
  place.first = item * Shape::kTokens;
  place.count = min(Shape::kTokens, args.tokens - place.first);
  place.begin = 2 * begin;
  place.end = 2 * end;

  // Beyond the matrix, its last row tile again.
  const WideMatrix& matrix = args.matrix[0];
  const int last_row_tile = (matrix.rows - 1) / kTileRows;
  const int first_row_tile = Place::row_block(args) * Shape::kRowTiles + row_warp * kRowTiles;
  SparseTile<kFine> weights[Shape::kDepth][kRowTiles];
  const auto load_weights = [&](SparseTile<kFine>(&to)[kRowTiles], int stage) {
    const int tile = begin + stage * Shape::kColWarps + col_warp;
    if (tile >= end) return;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row_tile = min(first_row_tile + r, last_row_tile);
      to[r].load(static_cast<const char*>(matrix.data) +
                     int64_t{row_tile * args.k_tiles + tile} * kSparseTileBytes,
                 static_cast<const __half2*>(matrix.scale) + int64_t{row_tile * args.groups} * 8,
                 tile, args.group_shift, args.groups);
    }
  };
#pragma unroll
  for (int d = 0; d < Shape::kDepth; ++d) load_weights(weights[d], d);

  wait_for_previous();
  const int stages = (end - begin + Shape::kColWarps - 1) / Shape::kColWarps;
  const typename Shape::Copies copies(args, place);
  const WholeCopies<Shape> whole(args, place);
  const auto copy_stage = [&](int stage) {
    const int tile = place.begin + stage * Shape::kColWarps * 2;
    char* to = shared + stage % Shape::kStages * Shape::Copies::kStageBytes;
    if (stage < stages && !whole.start(to, tile)) copies.start(to, tile);
    commit_copies();
  };
#pragma unroll
  for (int s = 0; s < Shape::kStages - 1; ++s) copy_stage(s);

  float sum[kRowTiles][kBlocks][4] = {};
  // What this lane gives ldmatrix: a row, a token, of matrix lane / 8, eight columns.
  const uint32_t lane_tokens = shared_address(shared) + col_warp * 2 * Shape::Copies::kTileBytes +
                               lane % 8 * 128 + ((lane / 8 ^ lane % 8) << 4);
  const auto multiply = [&](const SparseTile<kFine>(&tile)[kRowTiles], uint32_t tokens) {
    float unscaled[kRowTiles][kBlocks][4] = {};
    uint32_t factors[kRowTiles];
    for_each_constant<4>([&](auto j) {
      Fragment a[kRowTiles];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        if constexpr (Shape::kScaleSums) {
          a[r] = tile[r].codes(j);
        } else {
          if (kFine || j == 0) factors[r] = tile[r].factors(j);
          a[r] = tile[r].scaled(j, factors[r]);
        }
      }
      // Chunk c of a row of tokens lies at c ^ (row % 8): the upper four are 4 (64 bytes) away.
      const uint32_t from = (tokens + j / 2 * Shape::Copies::kTileBytes) ^ (j % 2 * 64);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        uint32_t b[4];
        load_matrices(b, from + n * 8 * 128);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          if constexpr (Shape::kScaleSums) {
            mma_sparse<j % 2>(unscaled[r][n], a[r], b, tile[r].indices(j));
          } else {
            mma_sparse<j % 2>(sum[r][n], a[r], b, tile[r].indices(j));
          }
        }
      }
      if constexpr (Shape::kScaleSums && (kFine || j == 3)) {
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          const float2 scale = tile[r].scales(j);
#pragma unroll
          for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              sum[r][n][i] += (i < 2 ? scale.x : scale.y) * unscaled[r][n][i];
              unscaled[r][n][i] = 0;
            }
          }
        }
      }
    });
  };
  for (int first = 0; first < stages; first += Shape::kDepth) {
    for_each_constant<Shape::kDepth>([&](auto d) {
      const int stage = first + d;
      if (stage >= stages) return;
      wait_for_copies<Shape::kStages - 2>();
      __syncthreads();
      copy_stage(stage + Shape::kStages - 1);
      if (begin + stage * Shape::kColWarps + col_warp < end) {
        multiply(weights[d], lane_tokens + stage % Shape::kStages * Shape::Copies::kStageBytes);
      }
      load_weights(weights[d], stage + Shape::kDepth);
    });
  }
  wait_for_copies<0>();

  auto* out = reinterpret_cast<float*>(shared);
  using Out = typename Shape::Out;
  Out::run(args, place, out, [&](int from) {
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      const int token = n * 8;
      if (token < from || token >= from + Out::kChunk) continue;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        float* to = out + col_warp * Out::kCopyFloats +
                    (token - from + lane % 4 * 2) * Out::kStride +
                    (row_warp * kRowTiles + r) * kTileRows + lane / 4;
        to[0] = sum[r][n][0];
        to[Out::kStride] = sum[r][n][1];
        to[8] = sum[r][n][2];
        to[Out::kStride + 8] = sum[r][n][3];
      }
    }
  });
}

template <typename Shape>
int64_t blocks_of(const WideArgs& args) {
  return ceil_div(args.matrix[0].rows, Shape::kRows) * ceil_div(args.tokens, Shape::kTokens);
}

template <typename Shape>
void launch_shape(const Stream& on, WideArgs args) {
  const int64_t items = ceil_div(args.tokens, Shape::kTokens);
  args.row_blocks = static_cast<int>(ceil_div(args.matrix[0].rows, Shape::kRows));
  const int64_t blocks = blocks_of<Shape>(args);
  // Splits of the columns, where blocks are too few to keep the memory busy.
  const int64_t together = Shape::kScaleSums ? 1 : Shape::kPerProcessor;
  const int64_t most =
      std::min<int64_t>({args.k_tiles / (2 * Shape::kColWarps),
                         on.partial_bytes() / (blocks * Shape::kTokens * Shape::kRows * 4),
                         blocks <= Stream::kCounters ? 8 : 1});
  args.splits = static_cast<int>(
      std::clamp<int64_t>(on.multiprocessors * together / blocks, 1, std::max<int64_t>(most, 1)));
  // Blocks that run together share the smaller operand, and the larger is read once.
  const int64_t x_bytes = int64_t{args.tokens} * args.cols * 2;
  args.tokens_fastest =
      items > 1 && x_bytes < row_tiles(args.matrix[0].rows) * args.k_tiles * kSparseTileBytes;
  const int64_t stages = ceil_div(ceil_div(args.k_tiles, args.splits), Shape::kColWarps);
  const int64_t shared =
      std::max<int64_t>(std::min<int64_t>(stages, Shape::kStages) * Shape::Copies::kStageBytes,
                        Shape::Out::kSharedBytes);
  const auto kernel =
      args.group_shift == 7 ? sparse_kernel<Shape, false> : sparse_kernel<Shape, true>;
  launch(on, kernel, wide_grid(args, items), Shape::kThreads, shared, args);
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

void sparse_product(const Stream& on, const SparseProduct& product) {
  const SparseWeight& weight = product.weight;
  if (product.rows == 0) return;
  CHECK(weight.group == 32 || weight.group == 64 || weight.group == 128);
  CHECK(aligned(weight.data) && product.out_stride >= weight.rows);
  CHECK(product.out_type == DType::kBf16 || product.out_type == DType::kF32);
  WideArgs args;
  args.x = product.x;
  args.x_aligned = aligned(product.x) && weight.cols % 8 == 0;
  args.cols = static_cast<int>(weight.cols);
  args.group_shift = std::countr_zero(static_cast<unsigned>(weight.group));
  args.groups = static_cast<int>(groups_of(weight.group, weight.cols));
  args.k_tiles = static_cast<int>(sparse_col_tiles(weight.cols));
  args.matrix[0] = {.data = weight.data,
                    .scale = weight.scale,
                    .out = product.out,
                    .out_stride = product.out_stride,
                    .rows = static_cast<int>(weight.rows),
                    .first_block = 0};
  args.tokens = static_cast<int>(product.rows);
  args.out_f32 = product.out_type == DType::kF32;
  args.out_aligned = aligned(product.out) && product.out_stride % 8 == 0;
  args.partials = static_cast<float*>(on.partials());
  args.counters = on.counters();
  if (args.tokens <= 8) {
    const bool long_rows = args.k_tiles >= 2 * FewTokensLongRows::kColWarps;
    return long_rows ? launch_shape<FewTokensLongRows>(on, args)
                     : launch_shape<FewTokens>(on, args);
  }
  if (args.tokens <= 32) return launch_shape<Tokens32>(on, args);
  if (args.tokens <= 64) return launch_shape<Tokens64>(on, args);
  // The largest tile where it keeps most of the device busy.
  const int64_t busy = blocks_of<ManyTokens>(args) * 4;
  if (busy < int64_t{on.multiprocessors} * ManyTokens::kPerProcessor * 3) {
    return launch_shape<MoreTokens>(on, args);
  }
  return launch_shape<ManyTokens>(on, args);
}

}  // namespace switchyard::cuda
