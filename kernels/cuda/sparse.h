// Products with weights that are 2:4 sparse: of every four consecutive columns of a row at most two
// are not zero. Half the codes of int4 and 2-bit indices are stored, 3 bits for each number of the
// dense matrix, and the tensor cores skip the zeros (mma.sp). For weights that are 2:4 already; no
// op of the Backend uses it.
//
// Layout. Tile (r, k) covers rows [16r, 16r+16) and columns [128k, 128k+128) of the dense matrix
// and is number r * k_tiles + k; rows and columns are padded with zeros to whole tiles. A tile is
// four steps j of 32 columns, a step eight chunks q of four columns. Of each chunk two values are
// kept, in order of their columns: number 2q and 2q+1 of their row in the step.
//   512 bytes of codes, 16 for each lane l (g = l / 4, t = l % 4). Word j holds step j: of chunks
//     q = t, t + 4 the kept values of rows g, g + 8, as code + 8, in the places of tile_layout.h:
//     v0 v1 = row g, chunk t; v2 v3 = row g+8, chunk t; v4 v5 and v6 v7 the same of chunk t+4.
//   256 bytes of indices, 8 for each lane. Word h of a lane is of step 2h + t / 2, chunks
//     4 (t % 2) + c, c = 0..3: bits [4c, 4c+4) of row g, [16+4c, 16+4c+4) of row g+8; of four bits
//     the low two are the column in the chunk of the first kept value, the high two of the second,
//     which is always further to the right.
// Scales are f16 pairs, as in tile_layout.h, for each row and `group` columns of the dense matrix.
#pragma once

#include <cuda_bf16.h>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tile_layout.h"

namespace switchyard::cuda {

inline constexpr int kSparseTileCols = 128;
inline constexpr int kSparseCodeBytes = 512;
inline constexpr int kSparseTileBytes = 768;

// Value = scale * code where kept, else 0. Rounded as int4 (kernels/base/weight.h).
struct SparseWeight {
  const void* data = nullptr;   // tiles, 16-byte aligned
  const void* scale = nullptr;  // f16 pairs
  int group = 0;                // 32, 64 or 128
  int64_t rows = 0;
  int64_t cols = 0;
};

constexpr int64_t sparse_col_tiles(int64_t cols) {
  return (cols + kSparseTileCols - 1) / kSparseTileCols;
}
constexpr WeightBytes sparse_bytes(int group, int64_t rows, int64_t cols) {
  return {.data = row_tiles(rows) * sparse_col_tiles(cols) * kSparseTileBytes,
          .scale = packed_scale_bytes(WeightFormat::kInt4, group, rows, cols)};
}

// Writes out.data and out.scale, of sparse_bytes(), by the rule of ScaleChoice::kRound.
struct SparsePack {
  SparseWeight out;
  Tensor source;  // [out.rows, out.cols] f32, f16 or bf16, on the device, row-major
  // On the device: the number of chunks of four columns with more than two values that are not
  // zero is added. Unless it stays 0 the source is refused: the scales of such chunks are NaN, so
  // that no product passes for one.
  uint32_t* refused = nullptr;
};
void sparse_pack(const Stream& on, const SparsePack& pack);

// out = x weight^T. Sums are f32. With up to 8 rows of x they are scaled in f32; with more every
// weight is rounded once to bf16. The same sizes give the same bits.
struct SparseProduct {
  const __nv_bfloat16* x = nullptr;  // [rows, weight.cols]
  int64_t rows = 0;
  SparseWeight weight;
  void* out = nullptr;  // [rows, out_stride >= weight.rows], bf16 or f32
  DType out_type = DType::kBf16;
  int64_t out_stride = 0;
};
void sparse_product(const Stream& on, const SparseProduct& product);

}  // namespace switchyard::cuda
