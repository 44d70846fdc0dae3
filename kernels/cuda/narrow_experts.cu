#include "kernels/cuda/narrow_experts.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow_experts.cuh"

namespace switchyard::cuda {
namespace {

// A unit: a row tile of gate and the same of up or, of down, two row tiles; for up to kRows of an
// expert's entries: a tile of them. Blocks are dealt out evenly to the tiles that there are, and
// those of a tile share its units; blockIdx.y counts rounds, as many tiles a round as there are
// blocks. Where the router has ended before this kernel starts (kRouted), weights are fetched
// before it waits for their rows of x.
template <bool kGated, bool kRouted, int kTokenTiles, int kBlockWarps>
struct EntriesJob {
  static constexpr int kWarps = kBlockWarps;
  static constexpr bool kLate = !kRouted, kJumps = !kGated, kEnds = false;
  static constexpr int kRows = kTokenTiles * 8;
  NarrowWeights weights;
  const __nv_bfloat16* x;
  int top_k;
  const int32_t* only;  // one token: its experts; else null
  const int32_t* order;
  const int32_t* expert_start;
  int experts;
  Experts matrix[kGated ? 2 : 1];
  int row_tiles;
  int64_t out_rows;
  __nv_bfloat16* out;
  const float* gain = nullptr;
  float epsilon = 0;

  // Of this thread, once begun.
  Experts::Kept kept[kGated ? 2 : 1];
  StreamRef ref[kGated ? 2 : 1];
  NarrowUnits mine;
  int count;
  int entry;  // lane l: the l-th entry

  __device__ void keep() {
#pragma unroll
    for (int s = 0; s < (kGated ? 2 : 1); ++s) kept[s] = matrix[s].keep(experts);
  }
  __device__ void choose() {
    keep();
    look_up();
  }
  __device__ void prepare(char*) {
    if constexpr (kLate) keep();
  }
  __device__ void begin() {
    if constexpr (kLate) look_up();
  }
  __device__ void expect(int) {}
  __device__ int all_units() const { return kGated ? row_tiles : (row_tiles + 1) / 2; }
  // Sets `mine`; returns this block's tile, or -1.
  __device__ int deal(int tiles) {
    const int before = static_cast<int>(blockIdx.y * gridDim.x);
    const int here = min(tiles - before, static_cast<int>(gridDim.x));
    mine = {0, 0};
    if (here <= 0) return -1;
    const int blocks = gridDim.x;
    const int block = blockIdx.x;
    const int tile = quotient(block * here, blocks);
    const int first = quotient(tile * blocks + here - 1, here);
    const int end = quotient((tile + 1) * blocks + here - 1, here);
    mine = part_of_units(all_units(), block - first, end - first);
    return before + tile;
  }
  __device__ void take(int expert) {
#pragma unroll
    for (int s = 0; s < (kGated ? 2 : 1); ++s) ref[s] = matrix[s].of(expert, kept[s]);
  }
  // Which tile is this block's, and its experts' weights; what the router wrote is read around the
  // first level of the cache, which may have what was there before.
  __device__ void look_up() {
    if (only != nullptr) {
      entry = __ldcg(only) >= 0 ? deal(top_k) : -1;
      count = 1;
      if (entry >= 0) take(__ldcg(only + entry));
      return;
    }
    const int lane = threadIdx.x % 32;
    int start, entries, through;  // of expert `base` + lane; tiles of the experts up to it
    const auto look = [&](int base) {
      const int e = base + lane;
      start = e < experts ? __ldcg(expert_start + e) : 0;
      entries = e < experts ? __ldcg(expert_start + e + 1) - start : 0;
      through = (entries + kRows - 1) / kRows;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(~0u, through, offset);
        if (lane >= offset) through += other;
      }
      return __shfl_sync(~0u, through, 31);
    };
    int tiles = 0;
#pragma unroll 1
    for (int base = 32; base < experts; base += 32) tiles += look(base);
    int of_chunk = look(0);
    int tile = deal(tiles + of_chunk);
    if (tile < 0) return;
    int base = 0;
    while (tile >= of_chunk) {
      tile -= of_chunk;
      base += 32;
      of_chunk = look(base);
    }
    const int owner = __popc(__ballot_sync(~0u, through <= tile));
    const int before = owner > 0 ? __shfl_sync(~0u, through, owner - 1) : 0;
    const int first = (tile - before) * kRows;
    count = min(__shfl_sync(~0u, entries, owner) - first, kRows);
    const int from = __shfl_sync(~0u, start, owner) + first;
    entry = lane < count ? __ldcg(order + from + lane) : 0;
    take(base + owner);
  }
  __device__ NarrowUnits units() const { return mine; }
  __device__ int rows() const { return count; }
  __device__ const __nv_bfloat16* row(int m) const {
    const int mine = __shfl_sync(~0u, entry, m);
    return x + int64_t{kGated ? quotient(mine, top_k) : mine} * weights.cols;
  }
  __device__ StreamRef stream(int unit, int s) const {
    if constexpr (kGated) return {ref[s].data, ref[s].scale, unit};
    return {ref[0].data, ref[0].scale, min(unit * 2 + s, row_tiles - 1)};
  }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums) const {
    // Lanes of neighbouring rows exchange a token each, and write two rows of one.
    const bool odd = threadIdx.x / 4 % 2 != 0;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const int m = sums.token(n, odd ? 1 : 0);
      const int64_t to = __shfl_sync(~0u, entry, m);
#pragma unroll
      for (int i = 0; i < (kGated ? 1 : 2) * 2; ++i) {
        const int s = i / 2;
        const int j = i % 2 * 2;
        float low = sums.value[s][n][j];
        float high = sums.value[s][n][j + 1];
        if constexpr (kGated) {
          low = silu(low) * sums.value[1][n][j];
          high = silu(high) * sums.value[1][n][j + 1];
        }
        const float other = __shfl_xor_sync(~0u, odd ? low : high, 4);
        const int64_t output =
            int64_t{kGated ? unit : unit * 2 + s} * kTileRows + (sums.row(j) & ~1);
        __nv_bfloat16* at = out + to * out_rows + output;
        if (m >= count || output >= out_rows) continue;
        const uint32_t pair = odd ? pack_bf16(other, high) : pack_bf16(low, other);
        if (out_rows % 2 == 0) {
          *reinterpret_cast<uint32_t*>(at) = pair;
        } else {
          at[0] = __ushort_as_bfloat16(static_cast<unsigned short>(pair));
          if (output + 1 < out_rows) {
            at[1] = __ushort_as_bfloat16(static_cast<unsigned short>(pair >> 16));
          }
        }
      }
    }
  }
};

// Twice as many where codes are unpacked, which takes as long as their way from memory.
constexpr int warps_for(WeightFormat format) {
  return format == WeightFormat::kBf16 ? kNarrowWarps : 2 * kNarrowWarps;
}

template <WeightFormat kFormat>
NarrowShared entries_shared(int64_t cols, int64_t rows, int token_tiles, int group) {
  NarrowShared shared{};
  with_scale_cols<kFormat>(group, [&](auto scale_cols) {
    shared = narrow_shared<kFormat, 2, scale_cols()>(warps_for(kFormat), cols, rows, false,
                                                     token_tiles, 0);
  });
  return shared;
}

template <WeightFormat kFormat, bool kGated, bool kRouted, int kTokenTiles>
void run_entries(const Stream& on,
                 const Tensor& x,
                 const ExpertWeight& weight,
                 const ExpertWeight& up,
                 const Routing& routing,
                 const Tensor& out) {
  const int64_t tokens = routing.expert.dim(0);
  EntriesJob<kGated, kRouted, kTokenTiles, warps_for(kFormat)> job{};
  job.weights = narrow_weights(weight.cols, weight.group);
  job.x = static_cast<const __nv_bfloat16*>(x.data);
  job.top_k = static_cast<int>(routing.expert.dim(1));
  job.only = tokens == 1 ? routing.expert.i32() : nullptr;
  job.order = routing.order.i32();
  job.expert_start = routing.expert_start.i32();
  job.experts = static_cast<int>(weight.experts);
  job.matrix[0] = {weight.data, weight.scale};
  if constexpr (kGated) job.matrix[1] = {up.data, up.scale};
  job.row_tiles = static_cast<int>(row_tiles(weight.rows));
  job.out_rows = weight.rows;
  job.out = static_cast<__nv_bfloat16*>(out.data);
  const NarrowShared shared = entries_shared<kFormat>(
      weight.cols, std::min<int64_t>(tokens, job.kRows), kTokenTiles, weight.group);
  with_scale_cols<kFormat>(weight.group, [&](auto cols) {
    const auto kernel = narrow_kernel<kFormat, 2, kTokenTiles, cols(), decltype(job)>;
    const int64_t entries = routing.order.dim(0);
    const int64_t tiles = std::min(entries, weight.experts + entries / job.kRows);
    const int64_t units = kGated ? job.row_tiles : ceil_div(job.row_tiles, 2);
    const int64_t blocks = std::min<int64_t>(on.multiprocessors, tiles * units);
    launch_alone(
        on, kernel, job, shared,
        dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(ceil_div(tiles, blocks))));
  });
}

// Calls body(std::integral_constant<int, kTokenTiles>): tiles that hold what nearly every expert
// gets, if tokens choose independently, as far as shared memory has room.
template <typename Body>
void with_expert_tiles(const Stream& on,
                       const Routing& routing,
                       const ExpertWeight& weight,
                       const Body& body) {
  const double average =
      static_cast<double>(routing.order.dim(0)) / static_cast<double>(weight.experts);
  const auto wanted =
      std::min<int64_t>(routing.expert.dim(0), std::llround(average + 2.5 * std::sqrt(average)));
  const int64_t rows = std::min<int64_t>(wanted, narrow_expert_rows(on, weight));
  if (rows <= 8) return body(std::integral_constant<int, 1>());
  if (rows <= 16) return body(std::integral_constant<int, 2>());
  body(std::integral_constant<int, 3>());
}

}  // namespace

int narrow_expert_rows(const Stream& on, const ExpertWeight& weight) {
  int most = 0;
  with_format(weight.format, [&](auto format) {
    for (const int rows : {8, 16, 24}) {
      const NarrowShared shared =
          entries_shared<format()>(weight.cols, rows, rows / 8, weight.group);
      if (shared.bytes() <= on.shared_bytes) most = rows;
    }
  });
  return most;
}

void narrow_expert_up(const Stream& on, const ExpertUpArgs& args) {
  with_format(args.gate.format, [&](auto format) {
    with_expert_tiles(on, args.routing, args.gate, [&](auto tiles) {
      run_entries<format(), true, false, tiles()>(on, args.x, args.gate, args.up, args.routing,
                                                  args.out);
    });
  });
}

void narrow_expert_down(const Stream& on, const ExpertDownArgs& args, bool routed) {
  with_format(args.down.format, [&](auto format) {
    with_expert_tiles(on, args.routing, args.down, [&](auto tiles) {
      const auto run = routed ? run_entries<format(), false, true, tiles()>
                              : run_entries<format(), false, false, tiles()>;
      run(on, args.hidden, args.down, {}, args.routing, args.expert_work);
    });
  });
}

}  // namespace switchyard::cuda
