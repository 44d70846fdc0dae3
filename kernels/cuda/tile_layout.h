// How the CUDA backend stores a matrix [rows, cols] that is multiplied with: as tiles of 16 rows x
// 64 columns, in the order in which a warp's lanes feed them to the tensor cores. One layout for
// all formats and all batch sizes; rows and columns are padded with zeros to whole tiles.
//
// Tile (r, k) covers rows [16r, 16r+16) and columns [64k, 64k+64), and is number r * k_tiles + k:
// the columns of a row of tiles are contiguous. A tile is four steps j of 16 columns. In step j,
// lane l (g = l / 4, t = l % 4) holds the eight values that mma.m16n8k16 wants in its A operand:
//   v0 v1 = W[g][16j+2t], [+1]    v2 v3 = W[g+8][16j+2t], [+1]
//   v4 v5 = W[g][16j+2t+8], [+9]  v6 v7 = W[g+8][16j+2t+8], [+9]     (rows, columns of the tile)
// A lane reads pieces of 16 bytes; piece p of lane l lies at 512p + 16l:
//   int4  one piece (512 B a tile): word j holds step j. Values are stored as code + 8; v(2i) in
//         bits [4i, 4i+4), v(2i+1) in bits [16+4i, 16+4i+4), i = 0..3.
//   int8, fp8  two pieces (1 KiB): piece p holds steps 2p and 2p+1, eight bytes each, v0 first.
//   bf16  four pieces (2 KiB): piece j holds step j, v0 first.
// Scales, [row tiles, groups, 8] pairs: pair g of a group is (scale of row g, scale of row g+8) of
// the tile; f16 pairs, f32 pairs for fp8.
#pragma once

#include <cstdint>

#include "kernels/base/weight.h"

namespace switchyard::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kTileCols = 64;

constexpr int64_t row_tiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
constexpr int64_t col_tiles(int64_t cols) { return (cols + kTileCols - 1) / kTileCols; }
constexpr int64_t groups_of(int group, int64_t cols) {
  return group > 0 ? (cols + group - 1) / group : 0;
}
constexpr int64_t tile_bytes(WeightFormat format) {
  return kTileRows * kTileCols * bits_of(format) / 8;
}

constexpr int64_t packed_data_bytes(WeightFormat format, int64_t rows, int64_t cols) {
  return row_tiles(rows) * col_tiles(cols) * tile_bytes(format);
}
constexpr int64_t packed_scale_bytes(WeightFormat format, int group, int64_t rows, int64_t cols) {
  return row_tiles(rows) * groups_of(group, cols) * kTileRows * bytes_of_scale(format);
}

}  // namespace switchyard::cuda
