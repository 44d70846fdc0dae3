#include "kernels/cuda/narrow_experts.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/narrow.cuh"

namespace switchyard::cuda {
namespace {

// Of an expert's unit: a block's share of an expert is short, and single warps end it unevenly.
constexpr int kLeastWarps = 2;

// The matrices of one weight of all experts. A lane keeps the addresses of its own expert, fetched
// before it is known which are wanted.
struct Experts {
  const void* const* data;
  const void* const* scale;

  struct Kept {
    const void* data;
    const void* scale;
  };
  __device__ Kept keep(int experts) const {
    const int lane = threadIdx.x % 32;
    if (lane >= experts) return {nullptr, nullptr};
    return {data[lane], scale != nullptr ? scale[lane] : nullptr};
  }
  // All lanes, with the same expert.
  __device__ StreamRef of(int expert, const Kept& kept) const {
    if (expert >= 32) {
      return {static_cast<const char*>(data[expert]), scale != nullptr ? scale[expert] : nullptr,
              0};
    }
    const auto from = [&](const void* mine) {
      return reinterpret_cast<const char*>(
          __shfl_sync(~0u, reinterpret_cast<unsigned long long>(mine), expert));
    };
    return {from(kept.data), from(kept.scale), 0};
  }
};

// A unit: a row tile of one expert, for up to kRows of its entries. blockIdx = (share of the row
// tiles, how many-th expert of those with entries, how many-th kRows of its entries).
template <int kStreams, int kTokenTiles>
struct EntriesJob {
  static constexpr bool kLate = true;
  static constexpr int kRows = kTokenTiles * 8;
  NarrowWeights weights;
  const __nv_bfloat16* x;
  int entries_per_x;  // K: entry i reads row i / K of x; 1: row i
  int top_k;
  const int32_t* only;  // one token: its experts; else null
  const int32_t* order;
  const int32_t* expert_start;
  int experts;
  Experts matrix[kStreams];
  int row_tiles;
  int64_t out_rows;
  __nv_bfloat16* out;
  const float* gain = nullptr;
  float epsilon = 0;

  // Of this thread, once begun.
  Experts::Kept kept[kStreams];
  StreamRef ref[kStreams];
  int count;
  int entry;  // lane l: the l-th entry

  __device__ void prepare(char*, const NarrowGroup&) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) kept[s] = matrix[s].keep(experts);
  }
  __device__ void expect(int, const NarrowGroup&) {}
  __device__ void begin() {
    const int lane = threadIdx.x % 32;
    if (only != nullptr) {
      const int chosen = only[blockIdx.y];
      count = 1;
      entry = blockIdx.y;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) ref[s] = matrix[s].of(chosen, kept[s]);
      return;
    }
    int skip = blockIdx.y;
    count = 0;
#pragma unroll 1
    for (int base = 0; base < experts; base += 32) {
      const int e = base + lane;
      const int start = e < experts ? expert_start[e] : 0;
      const int end = e < experts ? expert_start[e + 1] : 0;
      uint32_t present = __ballot_sync(~0u, end > start);
      if (skip >= __popc(present)) {
        skip -= __popc(present);
        continue;
      }
      for (; skip > 0; --skip) present &= present - 1;
      const int chosen = __ffs(present) - 1;
      const int first = __shfl_sync(~0u, start, chosen) + static_cast<int>(blockIdx.z) * kRows;
      count = min(max(__shfl_sync(~0u, end, chosen) - first, 0), kRows);
      entry = lane < count ? order[first + lane] : 0;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) ref[s] = matrix[s].of(base + chosen, kept[s]);
      return;
    }
  }
  __device__ int units() const { return count == 0 ? 0 : row_tiles; }
  __device__ int rows() const { return count; }
  __device__ const __nv_bfloat16* row(int m) const {
    return x + int64_t{__shfl_sync(~0u, entry, m) / entries_per_x} * weights.cols;
  }
  __device__ StreamRef stream(int unit, int s) const { return {ref[s].data, ref[s].scale, unit}; }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums, const NarrowGroup& group) const {
    // A warp writes two rows of 16 outputs.
#pragma unroll 1
    for (int i = group.thread(); i < kTileRows * ((count + 1) / 2 * 2); i += group.threads()) {
      const int in_tile = i % kTileRows;
      const int m = i / kTileRows;
      const int64_t to = __shfl_sync(~0u, entry, m);
      const int64_t output = int64_t{unit} * kTileRows + in_tile;
      if (m >= count || output >= out_rows) continue;
      float value = sums.at(0, in_tile, m);
      if constexpr (kStreams == 2) value = silu(value) * sums.at(1, in_tile, m);
      out[to * out_rows + output] = __float2bfloat16_rn(value);
    }
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles>
void run_entries(const Stream& on,
                 EntriesJob<kStreams, kTokenTiles> job,
                 const ExpertWeight& weight,
                 const Routing& routing) {
  const int64_t tokens = routing.expert.dim(0);
  job.weights = narrow_weights(weight.cols, weight.group);
  job.top_k = static_cast<int>(routing.expert.dim(1));
  job.only = tokens == 1 ? routing.expert.i32() : nullptr;
  job.order = routing.order.i32();
  job.expert_start = routing.expert_start.i32();
  job.experts = static_cast<int>(weight.experts);
  job.row_tiles = static_cast<int>(row_tiles(weight.rows));
  job.out_rows = weight.rows;
  with_scale_cols<kFormat>(weight.group, job.weights.k_tiles, [&](auto cols, int items) {
    const auto kernel =
        narrow_kernel<kFormat, kStreams, kTokenTiles, cols(), EntriesJob<kStreams, kTokenTiles>>;
    const NarrowShared shared = narrow_shared<kFormat, kStreams, cols()>(
        weight.cols, std::min<int64_t>(tokens, job.kRows), kTokenTiles, 0);
    const int64_t chosen = std::min(weight.experts, routing.order.dim(0));
    const int64_t resident = resident_blocks(on, kernel, shared.bytes());
    // Those that are chosen fill the device; who finds no expert leaves at once.
    const double idle =
        std::pow(1.0 - static_cast<double>(job.top_k) / static_cast<double>(weight.experts),
                 static_cast<double>(tokens));
    const auto active =
        std::max<int64_t>(1, std::llround(static_cast<double>(weight.experts) * (1 - idle)));
    NarrowGroup group = narrow_group(job.row_tiles * active, items, resident);
    group.warps = std::max(group.warps, std::min(kLeastWarps, items));
    const int64_t across = std::clamp<int64_t>(resident / active, 1,
                                               ceil_div(job.row_tiles, kNarrowWarps / group.warps));
    const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(chosen),
                    static_cast<unsigned>(ceil_div(tokens, job.kRows)));
    launch(on, kernel, grid, kNarrowThreads, shared.bytes(), job, shared, group);
  });
}

// Tokens that an expert's entries are expected to fill, with room for the uneven.
int64_t expected_rows(const Routing& routing, int64_t experts) {
  const int64_t tokens = routing.expert.dim(0);
  const int64_t average = ceil_div(routing.order.dim(0), experts);
  return std::min<int64_t>({tokens, average + average / 2 + 2, kNarrowMaxRows});
}

// A unit: a row tile of one token's experts, one stream each; row k of x is the hidden row of the
// k-th expert. blockIdx = (share of the row tiles, token).
template <int kStreams>
struct TokenDownJob {
  static constexpr bool kLate = true;
  NarrowWeights weights;
  const __nv_bfloat16* hidden;
  const int32_t* expert;
  const float* weight;
  int top_k;
  Experts matrix;
  int row_tiles;
  int64_t out_rows;
  __nv_bfloat16* out;
  const __nv_bfloat16* residual;
  const float* gain = nullptr;
  float epsilon = 0;

  int experts;
  Experts::Kept kept;
  StreamRef ref[kStreams];

  // Of this thread's first stream and row: the expert's weight and the residual.
  float early_weight, early_residual;

  __device__ void prepare(char*, const NarrowGroup&) { kept = matrix.keep(experts); }
  __device__ void expect(int unit, const NarrowGroup& group) {
    const int s = group.thread() % kStreams;
    const int64_t output = int64_t{unit} * kTileRows + group.thread() / kStreams % kTileRows;
    early_weight = s < top_k ? weight[blockIdx.y * top_k + s] : 0.0f;
    early_residual =
        output < out_rows ? __bfloat162float(residual[blockIdx.y * out_rows + output]) : 0.0f;
  }
  __device__ void begin() {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      ref[s] = matrix.of(expert[blockIdx.y * top_k + min(s, top_k - 1)], kept);
    }
  }
  __device__ int units() const { return row_tiles; }
  __device__ int rows() const { return top_k; }
  __device__ const __nv_bfloat16* row(int m) const {
    return hidden + int64_t{static_cast<int>(blockIdx.y) * top_k + m} * weights.cols;
  }
  __device__ StreamRef stream(int unit, int s) const { return {ref[s].data, ref[s].scale, unit}; }
  template <typename Sums>
  __device__ void finish(int unit, const Sums& sums, const NarrowGroup& group) const {
#pragma unroll 1
    for (int i = group.thread(); i < kTileRows * kStreams; i += group.threads()) {
      const int s = i % kStreams;
      const int in_tile = i / kStreams;
      const bool early = i == group.thread();
      const float share = early ? early_weight : s < top_k ? weight[blockIdx.y * top_k + s] : 0.0f;
      const float mine = share * sums.at(s, in_tile, s);
      float total = 0;
#pragma unroll
      for (int k = 0; k < kStreams; ++k) total += __shfl_sync(~0u, mine, k, kStreams);
      const int64_t output = int64_t{unit} * kTileRows + in_tile;
      if (s != 0 || output >= out_rows) continue;
      const int64_t at = blockIdx.y * out_rows + output;
      out[at] =
          __float2bfloat16_rn((early ? early_residual : __bfloat162float(residual[at])) + total);
    }
  }
};

template <WeightFormat kFormat, int kStreams>
void run_token_down(const Stream& on, const ExpertDownArgs& args) {
  TokenDownJob<kStreams> job{};
  job.weights = narrow_weights(args.down.cols, args.down.group);
  job.hidden = static_cast<const __nv_bfloat16*>(args.hidden.data);
  job.expert = args.routing.expert.i32();
  job.weight = args.routing.weight.f32();
  job.top_k = static_cast<int>(args.routing.expert.dim(1));
  job.matrix = {args.down.data, args.down.scale};
  job.row_tiles = static_cast<int>(row_tiles(args.down.rows));
  job.out_rows = args.down.rows;
  job.out = static_cast<__nv_bfloat16*>(args.out.data);
  job.residual = static_cast<const __nv_bfloat16*>(args.residual.data);
  job.experts = static_cast<int>(args.down.experts);
  const int64_t tokens = args.out.dim(0);
  with_scale_cols<kFormat>(args.down.group, job.weights.k_tiles, [&](auto cols, int items) {
    const auto kernel = narrow_kernel<kFormat, kStreams, 1, cols(), TokenDownJob<kStreams>>;
    const NarrowShared shared =
        narrow_shared<kFormat, kStreams, cols()>(args.down.cols, job.top_k, 1, 0);
    const int64_t resident = resident_blocks(on, kernel, shared.bytes());
    const NarrowGroup group = narrow_group(job.row_tiles * tokens, items, resident);
    const int64_t across = std::clamp<int64_t>(resident / tokens, 1,
                                               ceil_div(job.row_tiles, kNarrowWarps / group.warps));
    const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(tokens));
    launch(on, kernel, grid, kNarrowThreads, shared.bytes(), job, shared, group);
  });
}

}  // namespace

void narrow_expert_up(const Stream& on, const ExpertUpArgs& args) {
  with_format(args.gate.format, [&](auto format) {
    with_token_tiles(expected_rows(args.routing, args.gate.experts), [&](auto tiles) {
      EntriesJob<2, tiles()> job{};
      job.x = static_cast<const __nv_bfloat16*>(args.x.data);
      job.entries_per_x = static_cast<int>(args.routing.expert.dim(1));
      job.matrix[0] = {args.gate.data, args.gate.scale};
      job.matrix[1] = {args.up.data, args.up.scale};
      job.out = static_cast<__nv_bfloat16*>(args.out.data);
      run_entries<format(), 2, tiles()>(on, job, args.gate, args.routing);
    });
  });
}

void narrow_expert_down(const Stream& on, const ExpertDownArgs& args) {
  with_format(args.down.format, [&](auto format) {
    with_token_tiles(expected_rows(args.routing, args.down.experts), [&](auto tiles) {
      EntriesJob<1, tiles()> job{};
      job.x = static_cast<const __nv_bfloat16*>(args.hidden.data);
      job.entries_per_x = 1;
      job.matrix[0] = {args.down.data, args.down.scale};
      job.out = static_cast<__nv_bfloat16*>(args.expert_work.data);
      run_entries<format(), 1, tiles()>(on, job, args.down, args.routing);
    });
  });
}

void narrow_expert_down_of_each_token(const Stream& on, const ExpertDownArgs& args) {
  const int64_t top_k = args.routing.expert.dim(1);
  CHECK(top_k <= 8);
  with_format(args.down.format, [&](auto format) {
    if (top_k <= 2) {
      run_token_down<format(), 2>(on, args);
    } else if (top_k <= 4) {
      run_token_down<format(), 4>(on, args);
    } else {
      run_token_down<format(), 8>(on, args);
    }
  });
}

}  // namespace switchyard::cuda
