// One warp packs one tile, or one group of scales. Loading is bound by the copies around this.
#include "kernels/cuda/pack.h"

#include "kernels/cuda/pack_codes.cuh"
#include "kernels/cuda/tile_layout.h"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

template <WeightFormat kFormat>
__device__ float squared_error(
    const Source& source, int64_t row, int64_t begin, int64_t end, float scale) {
  float error = 0;
  for (int64_t col = begin; col < end; ++col) {
    const float value = source.at(row, col);
    const float rounded = scale == 0 ? 0 : Codes<kFormat>::round(__fdiv_rn(value, scale)) * scale;
    error += (value - rounded) * (value - rounded);
  }
  return error;
}

constexpr int kSearchedScales = 32;

// How scales come about: chosen, with `search` each lane trying one candidate, or given, [rows,
// groups].
struct ScaleRule {
  bool search;
  const float* given;  // null: chosen
};

// A warp chooses the scale of one row's group.
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads)
    choose_scales(Source source, int group, int64_t groups, ScaleRule rule, void* scales) {
  wait_for_previous();
  const int lane = threadIdx.x % 32;
  const int64_t task = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  const int64_t padded_rows = row_tiles(source.rows) * kTileRows;
  if (task >= padded_rows * groups) return;
  const int64_t row = task / groups;
  const int64_t index = task % groups;
  const int64_t begin = index * group;
  const int64_t end = min(begin + group, source.cols);
  float largest = 0;
  for (int64_t col = begin + lane; col < end; col += 32)
    largest = fmaxf(largest, fabsf(source.at(row, col)));
  largest = max_of_warp(largest);
  const float full = __fdiv_rn(largest, Codes<kFormat>::kLargest);
  float scale = Codes<kFormat>::round_scale(full);
  if (rule.given != nullptr) {
    scale = row < source.rows ? rule.given[row * groups + index] : 0.0f;
  } else if (rule.search && row < source.rows) {
    const float fraction = 1.0f - 0.5f * static_cast<float>(lane) / (kSearchedScales - 1);
    const float mine = Codes<kFormat>::round_scale(full * fraction);
    float error = squared_error<kFormat>(source, row, begin, end, mine);
    int best = lane;
    for (int offset = 16; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(~0u, error, offset);
      const int other_best = __shfl_xor_sync(~0u, best, offset);
      if (other < error || (other == error && other_best < best)) {
        error = other;
        best = other_best;
      }
    }
    scale = __shfl_sync(~0u, mine, best);
  }
  if (lane != 0) return;
  const int64_t in_tile = row % kTileRows;
  const int64_t place = (((row / kTileRows) * groups + index) * 8 + in_tile % 8) * 2 + in_tile / 8;
  if constexpr (kFormat == WeightFormat::kFp8) {
    static_cast<float*>(scales)[place] = scale;
  } else {
    static_cast<__half*>(scales)[place] = __float2half_rn(scale);
  }
}

template <WeightFormat kFormat>
__device__ float scale_at(const void* scales, int64_t row, int64_t groups, int64_t index) {
  const int64_t in_tile = row % kTileRows;
  const int64_t place = (((row / kTileRows) * groups + index) * 8 + in_tile % 8) * 2 + in_tile / 8;
  if constexpr (kFormat == WeightFormat::kFp8) return static_cast<const float*>(scales)[place];
  return __half2float(static_cast<const __half*>(scales)[place]);
}

// A lane writes its pieces of one tile, a step of 16 columns at a time.
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads)
    write_tiles(Source source, int group, int64_t groups, const void* scales, char* out) {
  wait_for_previous();
  const int lane = threadIdx.x % 32;
  const int64_t tile = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  const int64_t tiles_across = col_tiles(source.cols);
  if (tile >= row_tiles(source.rows) * tiles_across) return;
  const int64_t first_row = tile / tiles_across * kTileRows + lane / 4;
  const int64_t first_col = tile % tiles_across * kTileCols + lane % 4 * 2;
  char* mine = out + tile * tile_bytes(kFormat) + lane * 16;
  for (int j = 0; j < 4; ++j) {
    float value[8];
    for (int v = 0; v < 8; ++v) {
      const int64_t row = first_row + (v / 2 % 2) * 8;
      const int64_t col = first_col + j * 16 + v % 2 + (v / 4) * 8;
      value[v] = source.at(row, col);
      if constexpr (is_quantised(kFormat)) {
        const float scale =
            col < source.cols ? scale_at<kFormat>(scales, row, groups, col / group) : 0.0f;
        value[v] = scale == 0 ? 0.0f : __fdiv_rn(value[v], scale);
      }
    }
    if constexpr (kFormat == WeightFormat::kBf16) {
      *reinterpret_cast<uint4*>(mine + j * 512) =
          uint4{pack_bf16(value[0], value[1]), pack_bf16(value[2], value[3]),
                pack_bf16(value[4], value[5]), pack_bf16(value[6], value[7])};
    } else if constexpr (kFormat == WeightFormat::kInt4) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) {
        word |= Codes<kFormat>::bits(value[2 * i]) << (4 * i);
        word |= Codes<kFormat>::bits(value[2 * i + 1]) << (16 + 4 * i);
      }
      reinterpret_cast<uint32_t*>(mine)[j] = word;
    } else {
      uint2 bytes = {0, 0};
      for (int v = 0; v < 4; ++v) {
        bytes.x |= Codes<kFormat>::bits(value[v]) << (8 * v);
        bytes.y |= Codes<kFormat>::bits(value[v + 4]) << (8 * v);
      }
      *reinterpret_cast<uint2*>(mine + (j / 2) * 512 + (j % 2) * 8) = bytes;
    }
  }
}

template <WeightFormat kFormat>
void pack_as(const Stream& on, const PackArgs& args) {
  const Source source = {args.source.data, args.source.dtype, args.out.rows, args.out.cols};
  const int64_t groups = groups_of(args.out.group, args.out.cols);
  constexpr int kWarps = kThreads / 32;
  void* scales = const_cast<void*>(args.out.scale);
  if constexpr (is_quantised(kFormat)) {
    const int64_t tasks = row_tiles(source.rows) * kTileRows * groups;
    const ScaleRule rule = {args.scales == ScaleChoice::kSearch,
                            static_cast<const float*>(args.given_scale.data)};
    launch(on, choose_scales<kFormat>, static_cast<unsigned>(ceil_div(tasks, kWarps)), kThreads, 0,
           source, args.out.group, groups, rule, scales);
  }
  const int64_t tiles = row_tiles(source.rows) * col_tiles(source.cols);
  launch(on, write_tiles<kFormat>, static_cast<unsigned>(ceil_div(tiles, kWarps)), kThreads, 0,
         source, args.out.group, groups, scales,
         static_cast<char*>(const_cast<void*>(args.out.data)));
}

}  // namespace

void pack(const Stream& on, const PackArgs& args) {
  switch (args.out.format) {
    case WeightFormat::kBf16:
      return pack_as<WeightFormat::kBf16>(on, args);
    case WeightFormat::kFp8:
      return pack_as<WeightFormat::kFp8>(on, args);
    case WeightFormat::kInt8:
      return pack_as<WeightFormat::kInt8>(on, args);
    case WeightFormat::kInt4:
      return pack_as<WeightFormat::kInt4>(on, args);
    case WeightFormat::kF32:
    case WeightFormat::kF16:
      CHECK(false);  // Backend::multiplies
  }
}

}  // namespace switchyard::cuda
