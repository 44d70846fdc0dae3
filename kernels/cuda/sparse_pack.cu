// Dense matrices that are 2:4 into the layout of sparse.h. One warp packs one tile, or one group of
// scales.
#include "kernels/cuda/pack_codes.cuh"
#include "kernels/cuda/sparse.h"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
using Int4 = Codes<WeightFormat::kInt4>;

// Where scale (row, index) lies among the pairs.
__device__ int64_t scale_place(int64_t row, int64_t groups, int64_t index) {
  const int64_t in_tile = row % kTileRows;
  return ((row / kTileRows * groups + index) * 8 + in_tile % 8) * 2 + in_tile / 8;
}

// A warp chooses the scale of one row's group and counts the chunks that are not 2:4.
__global__ void __launch_bounds__(kThreads)
    choose_scales(Source source, int group, int64_t groups, __half* scales, uint32_t* refused) {
  wait_for_previous();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t task = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (task >= row_tiles(source.rows) * kTileRows * groups) return;
  const int64_t row = task / groups;
  const int64_t index = task % groups;
  float largest = 0;
  bool wrong = false;
  if (lane * 4 < group) {
    int kept = 0;
    for (int i = 0; i < 4; ++i) {
      const float value = source.at(row, index * group + lane * 4 + i);
      largest = fmaxf(largest, fabsf(value));
      kept += value != 0 ? 1 : 0;
    }
    wrong = kept > 2;
  }
  largest = max_of_warp(largest);
  const auto wrong_chunks = static_cast<uint32_t>(__popc(__ballot_sync(~0u, wrong)));
  if (lane != 0) return;
  const float scale = Int4::round_scale(__fdiv_rn(largest, Int4::kLargest));
  scales[scale_place(row, groups, index)] =
      __float2half_rn(wrong_chunks == 0 ? scale : __int_as_float(0x7fffffff));
  if (wrong_chunks != 0) atomicAdd(refused, wrong_chunks);
}

// The columns, in its chunk of four, of the two values that are kept.
struct Kept {
  uint32_t first, second;
};

__device__ Kept kept_of(const Source& source, int64_t row, int64_t col) {
  Kept kept = {4, 4};
  for (uint32_t i = 0; i < 4; ++i) {
    if (source.at(row, col + i) == 0) continue;
    if (kept.first == 4) {
      kept.first = i;
    } else if (kept.second == 4) {
      kept.second = i;
    }
  }
  // Fewer than two: zeros are kept, since two different columns must be named.
  if (kept.first == 4) return {0, 1};
  if (kept.second == 4) return kept.first == 3 ? Kept{2, 3} : Kept{kept.first, kept.first + 1};
  return kept;
}

__global__ void __launch_bounds__(kThreads)
    write_tiles(Source source, int group, int64_t groups, const __half* scales, char* out) {
  wait_for_previous();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int g = lane / 4;
  const int t = lane % 4;
  const int64_t tile = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t tiles_across = sparse_col_tiles(source.cols);
  if (tile >= row_tiles(source.rows) * tiles_across) return;
  const int64_t first_row = tile / tiles_across * kTileRows + g;
  const int64_t first_col = tile % tiles_across * kSparseTileCols;
  char* to = out + tile * kSparseTileBytes;
  for (int j = 0; j < 4; ++j) {
    uint32_t word = 0;
    for (int pair = 0; pair < 4; ++pair) {
      const int64_t row = first_row + pair % 2 * 8;
      const int64_t col = first_col + j * 32 + (t + pair / 2 * 4) * 4;
      const Kept kept = kept_of(source, row, col);
      const float scale =
          col < source.cols ? __half2float(scales[scale_place(row, groups, col / group)]) : 0.0f;
      const auto code = [&](uint32_t at) {
        return Int4::bits(scale > 0 ? __fdiv_rn(source.at(row, col + at), scale) : 0.0f);
      };
      word |= code(kept.first) << (4 * pair) | code(kept.second) << (16 + 4 * pair);
    }
    reinterpret_cast<uint32_t*>(to + lane * 16)[j] = word;
  }
  for (int h = 0; h < 2; ++h) {
    uint32_t word = 0;
    for (int i = 0; i < 8; ++i) {
      const int64_t row = first_row + i / 4 * 8;
      const int64_t col = first_col + (2 * h + t / 2) * 32 + (t % 2 * 4 + i % 4) * 4;
      const Kept kept = kept_of(source, row, col);
      word |= (kept.first | kept.second << 2) << (4 * i);
    }
    reinterpret_cast<uint32_t*>(to + kSparseCodeBytes + lane * 8)[h] = word;
  }
}

}  // namespace

void sparse_pack(const Stream& on, const SparsePack& pack) {
  const SparseWeight& out = pack.out;
  CHECK(out.group == 32 || out.group == 64 || out.group == 128);
  CHECK(pack.source.rank == 2 && pack.source.dim(0) == out.rows && pack.source.dim(1) == out.cols);
  CHECK(pack.source.dtype != DType::kI32);
  CHECK(pack.refused != nullptr);
  const Source source = {pack.source.data, pack.source.dtype, out.rows, out.cols};
  const int64_t groups = groups_of(out.group, out.cols);
  auto* scales = static_cast<__half*>(const_cast<void*>(out.scale));
  const int64_t tasks = row_tiles(out.rows) * kTileRows * groups;
  launch(on, choose_scales, static_cast<unsigned>(ceil_div(tasks, kWarps)), kThreads, 0, source,
         out.group, groups, scales, pack.refused);
  const int64_t tiles = row_tiles(out.rows) * sparse_col_tiles(out.cols);
  launch(on, write_tiles, static_cast<unsigned>(ceil_div(tiles, kWarps)), kThreads, 0, source,
         out.group, groups, scales, static_cast<char*>(const_cast<void*>(out.data)));
}

}  // namespace switchyard::cuda
