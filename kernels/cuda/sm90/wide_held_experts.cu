// The kernel of held experts: see wide_held_experts.h. Warps share nothing while they multiply, for
// x does not change while a block is at one tile of entries. Included by one file per format.
// Scales must cover whole tiles: groups of 64 columns or more.

#include "kernels/cuda/narrow_share.cuh"
#include "kernels/cuda/sm90/wide_held_stream.cuh"
#include "kernels/cuda/wide_held_experts_args.h"

namespace switchyard::cuda {
namespace {

// Entries order[first .. first + count) of one expert.
struct ExpertTile {
  int expert = 0;
  int first = 0, count = 0;
};

// The tiles of all experts, counted through. An expert's are of one size, a multiple of eight, the
// last perhaps smaller. All lanes of a warp call together.
class ExpertTiles {
 public:
  explicit __device__ __forceinline__ ExpertTiles(const HeldExpertsArgs& args) : args_(args) {
    for (int chunk = 0; chunk < args.experts; chunk += 32) all_ += look(chunk).all;
  }
  [[nodiscard]] __device__ __forceinline__ int all() const { return all_; }
  // 0 <= number < all().
  [[nodiscard]] __device__ __forceinline__ ExpertTile find(int number) const {
    int chunk = 0;
    Chunk at = look(chunk);
    while (number >= at.all) {
      number -= at.all;
      chunk += 32;
      at = look(chunk);
    }
    const int owner = __ffs(static_cast<int>(__ballot_sync(~0u, number < at.through))) - 1;
    const int into = number - __shfl_sync(~0u, at.through - at.tiles, owner);
    const int size = __shfl_sync(~0u, at.size, owner);
    return {.expert = chunk + owner,
            .first = __shfl_sync(~0u, at.start, owner) + into * size,
            .count = min(size, __shfl_sync(~0u, at.entries, owner) - into * size)};
  }

 private:
  // Of a lane's expert; `through` are the tiles of the chunk's experts up to it, `all` of all 32.
  struct Chunk {
    int start = 0, entries = 0, size = 0, tiles = 0, through = 0, all = 0;
  };
  [[nodiscard]] __device__ __forceinline__ Chunk look(int chunk) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    Chunk c;
    if (chunk + lane < args_.experts) {
      c.start = args_.expert_start[chunk + lane];
      c.entries = args_.expert_start[chunk + lane + 1] - c.start;
    }
    if (c.entries > 0) {
      const int least = quotient(c.entries + args_.capacity - 1, args_.capacity);
      c.size = (quotient(c.entries + least - 1, least) + 7) / 8 * 8;
      c.tiles = quotient(c.entries + c.size - 1, c.size);
    }
    c.through = c.tiles;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(~0u, c.through, offset);
      if (lane >= offset) c.through += other;
    }
    c.all = __shfl_sync(~0u, c.through, 31);
    return c;
  }

  const HeldExpertsArgs& args_;
  int all_ = 0;
};

template <int kStreams>
using HeldExpertsShape = HeldStream<WeightFormat::kInt4,
                                    kStreams,
                                    held_expert_warps(kStreams),
                                    held_expert_ring(kStreams)>;

// The rows of tiles of a warp: unit u is unit u % units of tile u / units.
template <typename Shape>
class ExpertRows {
 public:
  __device__ __forceinline__ ExpertRows(const HeldExpertsArgs& args, const ExpertTiles& tiles)
      : args_(args), tiles_(tiles) {}
  __device__ __forceinline__ HeldRow operator()(int unit, int stream) {
    const int number = quotient(unit, args_.units);
    if (number != number_) {
      number_ = number;
      expert_ = tiles_.find(number).expert;
    }
    const int warp = static_cast<int>(threadIdx.x / 32);
    const int last = (args_.rows + kTileRows - 1) / kTileRows - 1;
    const int64_t row = min((unit - number * args_.units) * Shape::kWarps + warp, last);
    return {static_cast<const char*>(args_.data[stream][expert_]) +
                row * args_.k_tiles * Shape::kCodeBytes,
            static_cast<const char*>(args_.scale[stream][expert_]) +
                row * args_.groups * Shape::kScaleBytes};
  }

 private:
  const HeldExpertsArgs& args_;
  const ExpertTiles& tiles_;
  int number_ = -1, expert_ = 0;
};

// Brings a tile's rows of x into shared memory, [64 columns][entry] in the swizzle of wgmma, zeros
// up to the products' width and behind the last column; and the numbers of its entries. All
// threads.
template <typename Shape>
__device__ __forceinline__ void hold_entries(const HeldExpertsArgs& args,
                                             const ExpertTile& tile,
                                             char* shared) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int width = max((tile.count + 7) / 8 * 8, 32);
  const uint32_t to = shared_address(shared);
  __syncthreads();  // no warp needs the tile before
  // Of the warp's rows, lane l has the number of the l-th.
  const int mine = warp + lane * Shape::kWarps;
  const int number = args.order[tile.first + (mine < tile.count ? mine : 0)];
  if (mine < width) reinterpret_cast<int*>(shared + args.entries_at)[mine] = number;
#pragma unroll 1
  for (int i = warp; i < width; i += Shape::kWarps) {
    const bool there = i < tile.count;
    const int entry = __shfl_sync(~0u, number, i / Shape::kWarps);
    const __nv_bfloat16* row = args.x + int64_t{quotient(entry, args.entries_per_row)} * args.cols;
#pragma unroll 4
    for (int chunk = lane; chunk < args.held_tiles * 8; chunk += 32) {
      const bool inside = there && chunk * 8 < args.cols;
      copy_async(to + chunk / 8 * args.capacity * 128 + i * 128 + ((chunk % 8 ^ i % 8) << 4),
                 row + (inside ? chunk * 8 : 0), inside);
    }
  }
  commit_copies();
  wait_for_copies<0>();
  publish_to_products();
  __syncthreads();
}

// A warp's 16 rows of a unit for all entries of the tile.
template <typename Shape, int kColumns>
__device__ __forceinline__ void write_entries(
    const HeldExpertsArgs& args,
    const ExpertTile& tile,
    const char* shared,
    int unit,
    const float (&sum)[Shape::kStreams][kColumns / 8][4]) {
  using Weights = ScaledTile<Shape::kFormat>;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const auto* entries = reinterpret_cast<const int*>(shared + args.entries_at);
  // Lanes of neighbouring rows exchange a token each, and write two rows of one.
  const bool odd = lane / 4 % 2 != 0;
  const int first_row = (unit * Shape::kWarps + warp) * kTileRows + (lane / 4 & ~1);
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
    const int token = n * 8 + lane % 4 * 2 + (odd ? 1 : 0);
    __nv_bfloat16* to = args.out + int64_t{entries[token]} * args.rows + first_row;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      constexpr float kFactors[2] = {Weights::kLowerRows, Weights::kUpperRows};
      float low = sum[0][n][2 * h] * kFactors[h];
      float high = sum[0][n][2 * h + 1] * kFactors[h];
      if constexpr (Shape::kStreams == 2) {
        low = silu(low) * (sum[1][n][2 * h] * kFactors[h]);
        high = silu(high) * (sum[1][n][2 * h + 1] * kFactors[h]);
      }
      const float other = __shfl_xor_sync(~0u, odd ? low : high, 4);
      if (token < tile.count && first_row + h * 8 < args.rows) {
        *reinterpret_cast<uint32_t*>(to + h * 8) =
            odd ? pack_bf16(other, high) : pack_bf16(low, other);
      }
    }
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    wide_held_experts(const __grid_constant__ HeldExpertsArgs args) {
  extern __shared__ __align__(1024) char shared[];
  wait_for_previous();
  let_next_start();
  const ExpertTiles tiles(args);
  // The same in all threads, which the compiler is to know.
  const int all = __shfl_sync(~0u, tiles.all() * args.units, 0);
  const auto share = [&](unsigned block) {
    return static_cast<int>(int64_t{all} * block / gridDim.x);
  };
  const int end = share(blockIdx.x + 1);
  int unit = share(blockIdx.x);
  if (unit == end) return;

  using Copies = HeldCopies<Shape, ExpertRows<Shape>>;
  ExpertRows<Shape> rows(args, tiles);
  Copies copies({.first = unit,
                 .stride = 1,
                 .units = end,
                 .begin = 0,
                 .end = args.held_tiles,
                 .k_tiles = args.k_tiles,
                 .group_shift = args.group_shift},
                rows);
  const char* ring = shared + args.rings_at + threadIdx.x / 32 * Shape::kRingBytes;
  HeldOperands<Shape, Copies> operands(copies, ring, static_cast<uint32_t>(args.cols >> 30));
  const uint64_t first = swizzled_operand(shared_address(shared));
  const uint32_t tile_bytes = args.capacity * 128;
  ExpertTile tile;
  // All units up to `stop`, of the tile that is held.
  const auto multiply = [&]<int kColumns>(std::integral_constant<int, kColumns>, int stop,
                                          int unit_0) {
#pragma unroll 1
    for (; unit < stop; ++unit) {
      float sum[Shape::kStreams][kColumns / 8][4] = {};
      uint64_t x = first;
#pragma unroll 1
      for (int t = 0; t < args.held_tiles; t += 2) {
        operands.template multiply<0, kColumns>(sum, x);
        operands.template multiply<1, kColumns>(sum, operand_ahead(x, tile_bytes));
        x = operand_ahead(x, 2 * tile_bytes);
      }
      wait_for_products<0>();
      write_entries<Shape, kColumns>(args, tile, shared, unit - unit_0, sum);
    }
  };
  constexpr int kMost = held_entries(Shape::kStreams);
  bool begun = false;
#pragma unroll 1
  while (unit < end) {
    const int number = quotient(unit, args.units);
    const int unit_0 = number * args.units;
    const int stop = min(end, unit_0 + args.units);
    tile = tiles.find(number);
    hold_entries<Shape>(args, tile, shared);
    if (!begun) operands.begin();
    begun = true;
    if (tile.count <= 32) {
      multiply(std::integral_constant<int, 32>(), stop, unit_0);
    } else if (kMost == 40 || tile.count <= 40) {
      multiply(std::integral_constant<int, 40>(), stop, unit_0);
    } else {
      multiply(std::integral_constant<int, kMost>(), stop, unit_0);
    }
  }
}

template <typename Shape>
void launch_shape(const Stream& on, const HeldExpertsArgs& args, int64_t shared) {
  launch(on, wide_held_experts<Shape>, static_cast<unsigned>(on.multiprocessors), Shape::kThreads,
         shared, args);
}

}  // namespace

void launch_held_experts(const Stream& on,
                         const HeldExpertsArgs& args,
                         int streams,
                         int64_t shared) {
  streams == 2 ? launch_shape<HeldExpertsShape<2>>(on, args, shared)
               : launch_shape<HeldExpertsShape<1>>(on, args, shared);
}

}  // namespace switchyard::cuda
