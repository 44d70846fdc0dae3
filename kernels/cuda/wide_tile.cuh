// What the wide kernels share: which tile of the result a block computes, rows of x copied to
// shared memory, rows of weights as tensor core operands, and the tile's way out. Device code only.
#pragma once

#include <type_traits>
#include <utility>

#include "kernels/cuda/tile_load.cuh"
#include "kernels/cuda/wide_args.h"

namespace switchyard::cuda {

// Calls f(0), ..., f(kCount - 1) with constants, so that arrays they index stay in registers.
template <int kCount, typename F>
__device__ __forceinline__ void for_each_constant(F&& f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    (f(std::integral_constant<int, kIndex>{}), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

// What one block computes: all columns, or one split of them, of `count` tokens and a block of
// rows. Of experts, token i of the tile is entry order[first + i]; of a product, row first + i.
struct Place {
  int expert = 0;
  int first = 0;
  int count = 0;           // 0: nothing
  int begin = 0, end = 0;  // tiles of 64 columns

  // Where token i of the tile is read and written.
  [[nodiscard]] __device__ int entry(const WideArgs& args, int i) const {
    return args.order != nullptr ? args.order[first + i] : first + i;
  }
  // The block of rows, counted through all matrices; and the number of its matrix, of gated ones
  // of the first.
  [[nodiscard]] static __device__ __forceinline__ int row_block(const WideArgs& args) {
    return static_cast<int>(args.tokens_fastest ? blockIdx.y : blockIdx.x);
  }
  [[nodiscard]] static __device__ __forceinline__ int matrix(const WideArgs& args) {
    int number = 0;
#pragma unroll
    for (int m = 1; m < kWideMatrices; ++m) {
      number += row_block(args) >= args.matrix[m].first_block ? 1 : 0;
    }
    return number;
  }
};

// Block (x, y, z): a block of rows, a tile of tokens (or the other way round), a split. Tiles of
// tokens of all experts are counted through, and those beyond the last find nothing to do.
template <int kTokens>
__device__ __forceinline__ Place locate(const WideArgs& args) {
  Place place;
  int item = static_cast<int>(args.tokens_fastest ? blockIdx.x : blockIdx.y);
  place.begin = args.k_tiles * static_cast<int>(blockIdx.z) / args.splits;
  place.end = args.k_tiles * (static_cast<int>(blockIdx.z) + 1) / args.splits;
  if (args.order == nullptr) {
    place.first = item * kTokens;
    place.count = min(kTokens, args.tokens - place.first);
    return place;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int chunk = 0; chunk < args.experts; chunk += 32) {
    const int expert = chunk + lane;
    int start = 0, entries = 0;
    if (expert < args.experts) {
      start = args.expert_start[expert];
      entries = args.expert_start[expert + 1] - start;
    }
    const int tiles = (entries + kTokens - 1) / kTokens;
    int through = tiles;  // tiles of the chunk's experts up to this one
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(~0u, through, offset);
      if (lane >= offset) through += other;
    }
    const unsigned reached = __ballot_sync(~0u, item < through);
    if (reached != 0) {
      const int owner = __ffs(static_cast<int>(reached)) - 1;
      const int tile = item - __shfl_sync(~0u, through - tiles, owner);
      place.expert = chunk + owner;
      place.first = __shfl_sync(~0u, start, owner) + tile * kTokens;
      place.count = min(kTokens, __shfl_sync(~0u, entries, owner) - tile * kTokens);
      return place;
    }
    item -= __shfl_sync(~0u, through, 31);
  }
  return place;
}

// Copies columns of the place's tokens to shared memory, a stage of kTiles tiles of 64 columns at a
// time. A tile is [kTokens][64] bf16, its 16-byte chunks exchanged within a row: chunk c of row r
// lies at c ^ (r % 8), which is the 128-byte swizzle of wgmma where the tile begins at a multiple
// of 1024 bytes. Zeros stand for tokens beyond the place's and columns beyond its end.
template <int kTokens, int kTiles, int kThreads>
class TokenCopies {
 public:
  static constexpr int kTileBytes = kTokens * 128;
  static constexpr int kStageBytes = kTiles * kTileBytes;

  __device__ __forceinline__ TokenCopies(const WideArgs& args, const Place& place)
      : args_(args), place_(place), column_(static_cast<int>(threadIdx.x % 8) * 8) {
    const int row = static_cast<int>(threadIdx.x / 8);
    to_ = row * 128 + ((static_cast<int>(threadIdx.x % 8) ^ (row & 7)) << 4);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int source = source_of((row + i * kRowsAtOnce) % kTokens);
      valid_ |= static_cast<uint32_t>(source >= 0) << i;
      chunk_[i] = static_cast<uint32_t>(max(source, 0)) * static_cast<uint32_t>(args.cols / 8) +
                  threadIdx.x % 8;
    }
  }

  // Starts copying the stage whose first tile is `tile`.
  __device__ __forceinline__ void start(char* stage, int tile) const {
    if (!args_.x_aligned) return copy_by_elements(stage, tile);
    const uint32_t to = shared_address(stage) + to_;
    const int row = static_cast<int>(threadIdx.x / 8);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int mine = tile + (row + i * kRowsAtOnce) / kTokens;
      const bool inside = mine < place_.end && mine * kTileCols + column_ < args_.cols;
      const uint32_t chunk = inside ? chunk_[i % kRows] + mine * (kTileCols / 8) : 0u;
      copy_async(to + i * kRowsAtOnce * 128, args_.x + int64_t{chunk} * 8,
                 inside && (valid_ >> (i % kRows) & 1) != 0);
    }
  }

 private:
  static constexpr int kRowsAtOnce = kThreads / 8;
  static constexpr int kRows = kTokens > kRowsAtOnce ? kTokens / kRowsAtOnce : 1;
  static constexpr int kChunks = kTiles * kTokens / kRowsAtOnce;
  static_assert(kRowsAtOnce % 8 == 0 && kTiles * kTokens % kRowsAtOnce == 0 &&
                (kTokens % kRowsAtOnce == 0 || kRowsAtOnce % kTokens == 0));

  // The row of x that is token `token` of the tile, or -1.
  [[nodiscard]] __device__ __forceinline__ int source_of(int token) const {
    return token < place_.count ? place_.entry(args_, token) / args_.entries_per_row : -1;
  }
  // The same at once, where rows are not aligned. Rare, slow and small: one loop.
  __device__ __forceinline__ void copy_by_elements(char* stage, int tile) const {
#pragma unroll 1
    for (int i = 0; i < kChunks; ++i) {
      const int row = static_cast<int>(threadIdx.x / 8) + i * kRowsAtOnce;
      const int source = source_of(row % kTokens);
      const int column = (tile + row / kTokens) * kTileCols + column_;
      const int limit = min(args_.cols, place_.end * kTileCols);
      const auto* bits = reinterpret_cast<const uint16_t*>(args_.x) +
                         static_cast<int64_t>(max(source, 0)) * args_.cols;
      uint32_t pair[4] = {0, 0, 0, 0};
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        if (source < 0 || column + v >= limit) continue;
        pair[v / 2] |= static_cast<uint32_t>(bits[column + v]) << (v % 2 * 16);
      }
      *reinterpret_cast<uint4*>(stage + to_ + i * kRowsAtOnce * 128) =
          uint4{pair[0], pair[1], pair[2], pair[3]};
    }
  }

  const WideArgs& args_;
  const Place& place_;
  int column_, to_;
  uint32_t valid_ = 0;     // bit i: the i-th row of this thread exists
  uint32_t chunk_[kRows];  // where its first chunk begins in x, in chunks
};

// One row of weight tiles: 16 rows of the result.
struct WeightRow {
  const char* data;
  const char* scale;

  // Number `index` of a block's kRowTiles rows of tiles: of gated products the first half are the
  // gate's and the others the same rows of up. Beyond the matrix, its last one again.
  template <WeightFormat kFormat, int kRowTiles>
  static __device__ __forceinline__ WeightRow of(const WideArgs& args,
                                                 const Place& place,
                                                 int index) {
    const int here = args.gated ? kRowTiles / 2 : kRowTiles;
    const int which = index / here;
    const int number = Place::matrix(args);
    const int row_block = Place::row_block(args) - args.matrix[number].first_block;
    const WideMatrix& matrix = args.matrix[number + which];
    const int last = (matrix.rows + kTileRows - 1) / kTileRows - 1;
    const int64_t tile = min(row_block * here + index % here, last);
    const auto address = [&](const void* product, const void* const* experts) {
      return static_cast<const char*>(experts != nullptr ? experts[place.expert] : product);
    };
    WeightRow row;
    row.data =
        address(matrix.data, args.expert_data[which]) + tile * args.k_tiles * Tile<kFormat>::kBytes;
    row.scale = nullptr;
    if constexpr (is_quantised(kFormat)) {
      row.scale = address(matrix.scale, args.expert_scale[which]) +
                  tile * args.groups * kTileRows * bytes_of_scale(kFormat);
    }
    return row;
  }
};

// One tile of weights on its way, with the scales of its lane's two rows: one pair for the tile or,
// if kFine, one for each half of its columns (groups of 32).
template <WeightFormat kFormat, bool kFine = false>
class ScaledTile {
 public:
  // A tile beyond `end` is zeros.
  __device__ __forceinline__ void load(
      const WideArgs& args, const WeightRow& row, int tile, int end, int lane) {
    if (tile < end) {
      codes_.load(row.data + static_cast<int64_t>(tile) * Tile<kFormat>::kBytes, lane);
    } else {
      codes_.clear();
    }
    if constexpr (is_quantised(kFormat)) {
#pragma unroll
      for (int half = 0; half < (kFine ? 2 : 1); ++half) {
        const int group = min((tile * kTileCols + half * 32) >> args.group_shift, args.groups - 1);
        const int64_t pair = group * 8 + lane / 4;
        if constexpr (kFormat == WeightFormat::kFp8) {
          scale_[half] = __ldg(reinterpret_cast<const float2*>(row.scale) + pair);
        } else {
          scale_[half] = __ldg(reinterpret_cast<const __half2*>(row.scale) + pair);
        }
      }
    }
  }

  // A tile that lies in shared memory, and its eight pairs of scales.
  __device__ __forceinline__ void read(const char* codes, const char* scales, int lane) {
    static_assert(!kFine);
    codes_.read(codes, lane);
    if constexpr (is_quantised(kFormat)) {
      scale_[0] = reinterpret_cast<const Scale*>(scales)[lane / 4];
    }
  }

  // The operand of step j: codes alone, divided as small_fragment() does.
  [[nodiscard]] __device__ __forceinline__ Fragment codes(int j) const {
    return codes_.small_fragment(j);
  }
  // What those are to be multiplied by, in the lane's two rows.
  [[nodiscard]] __device__ __forceinline__ float2 scales(int j) const {
    if constexpr (kFormat == WeightFormat::kBf16) {
      return {1, 1};
    } else if constexpr (kFormat == WeightFormat::kFp8) {
      return scale_[kFine ? j / 2 : 0];
    } else {
      const float2 scale = __half22float2(scale_[kFine ? j / 2 : 0]);
      return {Tile<kFormat>::kSmallLower * scale.x, Tile<kFormat>::kSmallUpper * scale.y};
    }
  }
  // The same, twice each, as bf16: fp8's are rounded, the others fit.
  [[nodiscard]] __device__ __forceinline__ uint2 factors(int j) const {
    const float2 scale = scales(j);
    return {pack_bf16(scale.x, scale.x), pack_bf16(scale.y, scale.y)};
  }
  // The operand of step j: codes times factors(j), rounded to bf16.
  [[nodiscard]] __device__ __forceinline__ Fragment fragment(int j) const {
    Fragment f = codes(j);
    if constexpr (is_quantised(kFormat)) {
      const uint2 factor = factors(j);
      f.a[0] = mul_bf16x2(f.a[0], factor.x);
      f.a[1] = mul_bf16x2(f.a[1], factor.y);
      f.a[2] = mul_bf16x2(f.a[2], factor.x);
      f.a[3] = mul_bf16x2(f.a[3], factor.y);
    }
    return f;
  }

  // The same operand with less work and more registers: bits(j) * by + plus, of rows 0 to 7 and
  // of rows 8 to 15. So that one operation does it for every scale that f16 holds, rows of int4
  // and int8 come divided: sums are to be multiplied by kLowerRows and kUpperRows.
  struct Scaling {
    uint32_t by[2], plus[2];  // the same bf16 twice each
  };
  static constexpr bool kDivided = kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8;
  static constexpr int kScaleExponent = 111;  // the largest f16 stays below 2^128
  static constexpr float kLowerRows =
      kDivided ? power_of_two(-Tile<kFormat>::kLowerExponent - kScaleExponent) : 1.0F;
  static constexpr float kUpperRows =
      kDivided ? power_of_two(-Tile<kFormat>::kUpperExponent - kScaleExponent) : 1.0F;

  [[nodiscard]] __device__ __forceinline__ Scaling scaling(int j) const {
    if constexpr (kDivided) {
      constexpr float kBy = power_of_two(kScaleExponent);
      const float2 scale = __half22float2(scale_[kFine ? j / 2 : 0]);
      const uint32_t lower = pack_bf16(scale.x * kBy, scale.x * kBy);
      const uint32_t upper = pack_bf16(scale.y * kBy, scale.y * kBy);
      // Less kOffset times the bits of 1, which are bits of a bf16 themselves.
      constexpr uint32_t kMinus = 0x80008000u;
      constexpr uint32_t kLower = Tile<kFormat>::kOffset * 0x00010001u | kMinus;
      constexpr uint32_t kUpper = (Tile<kFormat>::kOffset << (Tile<kFormat>::kUpperExponent -
                                                              Tile<kFormat>::kLowerExponent)) *
                                      0x00010001u |
                                  kMinus;
      return {{lower, upper}, {mul_bf16x2(lower, kLower), mul_bf16x2(upper, kUpper)}};
    } else {
      const float2 scale = scales(j);
      return {{pack_bf16(scale.x, scale.x), pack_bf16(scale.y, scale.y)}, {kNothing, kNothing}};
    }
  }
  [[nodiscard]] __device__ __forceinline__ Fragment bits(int j) const {
    if constexpr (kDivided) {
      return codes_.offset_bits(j);
    } else {
      return codes_.fragment(j);
    }
  }

 private:
  static constexpr uint32_t kNothing = 0x80008000u;  // -0 twice
  struct None {};
  using Scale =
      std::conditional_t<kFormat == WeightFormat::kBf16,
                         None,
                         std::conditional_t<kFormat == WeightFormat::kFp8, float2, __half2>>;
  Tile<kFormat> codes_;
  Scale scale_[kFine ? 2 : 1];
};

}  // namespace switchyard::cuda
