// The held kernel: see wide_held.h. Warps share nothing while they multiply, for x does not change
// and each warp copies its own rows of weights through a ring of its own. Of the sums of a unit
// each block keeps those of its own tokens in registers and sends the others to their owners.
// Included by one file per format. Scales must cover whole tiles: groups of 64 columns or more.
#pragma once

#include "kernels/cuda/sm90/cluster.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"
#include "kernels/cuda/wide_held_args.h"
#include "kernels/cuda/wide_tile.cuh"

namespace switchyard::cuda {
namespace {

template <WeightFormat kWeightFormat, int kRowsOfX, int kGateStreams, int kBlockWarps>
struct HeldShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr int kTokens = kRowsOfX;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kStreams = kGateStreams;
  static constexpr int kWarps = kBlockWarps;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kCodeBytes = Tile<kFormat>::kBytes;
  static constexpr int kSlotBytes = held_slot_bytes(kFormat);
  static constexpr int kScaleBytes = kSlotBytes - kCodeBytes;
  static constexpr int kStageBytes = kStreams * kSlotBytes;
  static constexpr int kRing = held_ring({kFormat, kTokens, kStreams, kWarps});
  static constexpr int kTileBytes = kTokens * kTileCols * 2;  // of x
  static constexpr int kPerProcessor = kWarps == 8 && kStreams == 1 ? 2 : 1;
};

// The matrix that a unit belongs to; gated ones share their units.
template <int kStreams>
__device__ __forceinline__ const HeldMatrix& matrix_of(const HeldArgs& args, int unit, int stream) {
  if constexpr (kStreams == 2) return args.matrix[stream];
  int which = 0;
#pragma unroll
  for (int m = 1; m < kWideMatrices; ++m) which += unit >= args.matrix[m].first_unit ? 1 : 0;
  return args.matrix[which];
}

// What a block is to its cluster: whose tokens it finishes, what columns it holds.
struct HeldPart {
  int rank, splits;
  int owned, owned_shift;  // tokens / 8
  int begin, end;          // tiles of 64 columns: an even number; the last may be one of zeros
  // Of this block's tokens come first: block n of the products' tokens is block n + rank * owned.

  explicit __device__ __forceinline__ HeldPart(const HeldArgs& args)
      : rank(static_cast<int>(blockIdx.x) & (args.splits - 1)),
        splits(args.splits),
        owned(1 << args.owned_shift),
        owned_shift(args.owned_shift) {
    const int pairs = (args.k_tiles + 1) / 2;
    begin = pairs * rank / splits * 2;
    end = pairs * (rank + 1) / splits * 2;
  }
  [[nodiscard]] __device__ __forceinline__ int tiles() const { return end - begin; }
  // The block `distance` behind this one.
  [[nodiscard]] __device__ __forceinline__ int peer(int distance) const {
    return (rank + distance) & (splits - 1);
  }
};

// The barriers of a block: of each warp, that sums came and that its own were read; and one that
// squares came.
template <typename Shape>
struct HeldBarriers {
  uint32_t first;

  [[nodiscard]] __device__ __forceinline__ uint32_t sums() const {
    return first + threadIdx.x / 32 * 8;
  }
  [[nodiscard]] __device__ __forceinline__ uint32_t read() const {
    return sums() + Shape::kWarps * 8;
  }
  [[nodiscard]] __device__ __forceinline__ uint32_t squares() const {
    return first + 2 * Shape::kWarps * 8;
  }
  // All threads call; each warp sets up its own.
  __device__ __forceinline__ void set_up(const HeldPart& part) const {
    if (threadIdx.x % 32 == 0) {
      set_up_barrier(sums(), 1);
      set_up_barrier(read(), max(part.splits - 1, 1));
      if (threadIdx.x == 0) {
        set_up_barrier(squares(), 1);
        expect_bytes(squares(), Shape::kTokens * 4);
      }
      publish_barriers();
    }
    __syncwarp();
  }
};

__device__ __forceinline__ void copy_async_if(bool wanted,
                                              uint32_t shared,
                                              const void* global,
                                              bool valid) {
  asm volatile(
      "{ .reg .pred wanted; setp.ne.s32 wanted, %3, 0;\n"
      "@wanted cp.async.cg.shared.global [%0], [%1], 16, %2; }"
      :
      : "r"(shared), "l"(global), "r"(valid ? 16 : 0), "r"(static_cast<int>(wanted))
      : "memory");
}

// A warp's copies of weights: its row of tiles of a unit, then of the cluster's next unit.
template <typename Shape>
class HeldCopies {
 public:
  __device__ __forceinline__
  HeldCopies(const HeldArgs& args, const HeldPart& part, int unit, int stride)
      : args_(args), part_(part), unit_(unit), stride_(stride), limit_(args.k_tiles) {
    enter();
  }
  // Starts copying the next tile of each stream, zeros if there is none; one group of copies.
  __device__ __forceinline__ void start(uint32_t to) {
    const auto lane = threadIdx.x % 32;
    const bool there = tile_ < limit_;
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const uint32_t slot = to + s * Shape::kSlotBytes + lane * 16;
#pragma unroll
      for (int p = 0; p < Tile<Shape::kFormat>::kPieces; ++p) {
        copy_async(slot + p * 512, data_[s] + p * 512, there);
      }
      data_[s] += Shape::kCodeBytes;
      if constexpr (Shape::kScaleBytes > 0) {
        const auto group = static_cast<uint32_t>(tile_ * kTileCols) >> args_.group_shift;
        copy_async_if(lane < Shape::kScaleBytes / 16, slot + Shape::kCodeBytes,
                      scale_[s] + group * Shape::kScaleBytes, there);
      }
    }
    if (++tile_ == part_.end) {
      unit_ += stride_;
      enter();
    }
    commit_copies();
  }

 private:
  __device__ __forceinline__ void enter() {
    tile_ = part_.begin;
    if (unit_ >= args_.units) {
      limit_ = 0;
      return;
    }
    const int warp = static_cast<int>(threadIdx.x / 32);
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const HeldMatrix& matrix = matrix_of<Shape::kStreams>(args_, unit_, s);
      const int last = (matrix.rows + kTileRows - 1) / kTileRows - 1;
      const int64_t row = min((unit_ - matrix.first_unit) * Shape::kWarps + warp, last);
      data_[s] = matrix.data + (row * args_.k_tiles + tile_) * Shape::kCodeBytes + lane * 16;
      scale_[s] = matrix.scale + row * args_.groups * Shape::kScaleBytes + lane * 16;
    }
  }

  const HeldArgs& args_;
  const HeldPart& part_;
  int unit_, stride_;
  int tile_ = 0, limit_;                // tiles from the limit on are zeros
  const char* data_[Shape::kStreams];   // of this lane, of the next tile
  const char* scale_[Shape::kStreams];  // of this lane, of the first group
};

// The block's columns of x, times the gain, as tiles of 64 columns in the swizzle of wgmma; and the
// sums of their squares to the blocks that finish the tokens.
template <typename Shape>
__device__ __forceinline__ void hold_rows(const HeldArgs& args,
                                          const HeldPart& part,
                                          const HeldBarriers<Shape>& barriers,
                                          char* shared) {
  constexpr int kRows = Shape::kTokens / Shape::kWarps;  // of a warp: w, w + kWarps, ...
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  wait_for_previous();
  const __nv_bfloat16* row[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int token = min(warp + i * Shape::kWarps, args.tokens - 1);
    row[i] = args.x + int64_t{args.gather != nullptr ? args.gather[token] : token} * args.cols;
  }
  float square[kRows] = {};
  // So many chunks of 16 bytes, of each row, are under way at once.
  constexpr int kAtOnce = kRows < 8 ? 8 / kRows : 1;
#pragma unroll 1
  for (int first = lane; first < part.tiles() * 8; first += 32 * kAtOnce) {
    uint4 value[kAtOnce][kRows];
#pragma unroll
    for (int c = 0; c < kAtOnce; ++c) {
      const int column = part.begin * kTileCols + (first + c * 32) * 8;
      const bool inside = column < min(part.end * kTileCols, args.cols);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool there = inside && warp + i * Shape::kWarps < args.tokens;
        value[c][i] = there ? *reinterpret_cast<const uint4*>(row[i] + column) : uint4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (int c = 0; c < kAtOnce; ++c) {
      const int chunk = first + c * 32;
      const int column = part.begin * kTileCols + chunk * 8;
      if (column >= part.end * kTileCols) break;
      if (args.gain != nullptr && column < args.cols) {
        const float4 low = __ldg(reinterpret_cast<const float4*>(args.gain + column));
        const float4 high = __ldg(reinterpret_cast<const float4*>(args.gain + column + 4));
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const auto scaled = [&](uint32_t pair, float g0, float g1) {
            const float2 v = unpack_bf16(pair);
            square[i] += v.x * v.x + v.y * v.y;
            return pack_bf16(v.x * g0, v.y * g1);
          };
          uint4& v = value[c][i];
          v = uint4{scaled(v.x, low.x, low.y), scaled(v.y, low.z, low.w),
                    scaled(v.z, high.x, high.y), scaled(v.w, high.z, high.w)};
        }
      }
      char* to = shared + chunk / 8 * Shape::kTileBytes + ((chunk % 8 ^ warp % 8) << 4);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int place =
            (warp + i * Shape::kWarps - part.rank * part.owned * 8) & (Shape::kTokens - 1);
        *reinterpret_cast<uint4*>(to + place * 128) = value[c][i];
      }
    }
  }
  publish_to_products();
  __syncwarp();
  wait_for_cluster();
  if (args.gain == nullptr) return;
  auto* squares = reinterpret_cast<float*>(shared + args.squares_at) + part.rank * part.owned * 8;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float all = sum_of_warp(square[i]);
    const int token = warp + i * Shape::kWarps;
    const int owner = token >> (3 + part.owned_shift);
    const int at = token - owner * part.owned * 8;
    if (lane != 0) continue;
    if (part.splits == 1) {
      squares[at] = all;
    } else {
      send(address_in(owner, shared_address(squares + at)), all,
           address_in(owner, barriers.squares()));
    }
  }
}

// The end of a unit: sums change hands, and each block writes what it owns.
template <typename Shape>
class HeldFinish {
 public:
  using Sums = float[Shape::kStreams][Shape::kBlocks][4];

  __device__ __forceinline__ HeldFinish(const HeldArgs& args,
                                        const HeldPart& part,
                                        const HeldBarriers<Shape>& barriers,
                                        char* shared)
      : args_(args),
        part_(part),
        barriers_(barriers),
        shared_(shared),
        mine_(args.sums_at + static_cast<int>(threadIdx.x) * 16) {}

  // Fetches early what is added to this thread's outputs of a block of tokens.
  __device__ __forceinline__ void expect(int unit, int block) {
    if (Shape::kStreams == 2 || args_.residual == nullptr) return;
    const HeldMatrix& matrix = args_.matrix[0];
    const int first_row = row_of(unit, matrix), first_token = token_of(block);
    const auto* bits = reinterpret_cast<const uint16_t*>(args_.residual);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      residual_[h] = 0;
      const int row = first_row + h * 8;
      const int64_t from = int64_t{first_token} * matrix.rows + row;
      if (row >= matrix.rows) continue;
      if (first_token < args_.tokens) residual_[h] = bits[from];
      if (first_token + 1 < args_.tokens) {
        residual_[h] |= static_cast<uint32_t>(bits[from + matrix.rows]) << 16;
      }
    }
  }
  // A warp's part of a unit, the cluster's `round`-th; writes and clears `sum`.
  __device__ __forceinline__ void run(Sums& sum, int unit, int round, bool last) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const bool alone = part_.splits == 1;
    if (!alone) {
      if (round > 0) wait_for_phase(barriers_.read(), round - 1);
      if (lane == 0)
        expect_bytes(barriers_.sums(), (part_.splits - 1) * part_.owned * Shape::kStreams * 512);
      send_others(sum);
    }
    if (!alone) wait_for_phase(barriers_.sums(), round);
    if (!alone && round == 0 && args_.gain != nullptr) wait_for_phase(barriers_.squares(), 0);
    if (args_.out_f32) {
      write<float>(sum, unit);
    } else {
      write<__nv_bfloat16>(sum, unit);
    }
#pragma unroll
    for (auto& stream : sum) {
#pragma unroll
      for (auto& block : stream) block[0] = block[1] = block[2] = block[3] = 0;
    }
    __syncwarp();
    if (!last && lane > 0 && lane < part_.splits) {
      arrive_there(address_in(part_.peer(lane), barriers_.read()));
    }
    __syncwarp();
  }

 private:
  // Bytes between what blocks of eight tokens have of all streams.
  [[nodiscard]] static __device__ __forceinline__ constexpr int at(int block) {
    return block * Shape::kStreams * Shape::kThreads * 16;
  }

  __device__ __forceinline__ void send_others(const Sums& sum) const {
    const uint32_t from = shared_address(shared_) + mine_;
#pragma unroll
    for (int n = 1; n < Shape::kBlocks; ++n) {
      if (n < part_.owned) continue;
      const int distance = n >> part_.owned_shift;
      const int owner = part_.peer(distance);
      const int block = n & (part_.owned - 1);
      // This block is splits - distance behind the owner, which keeps nothing of its own here.
      const int slot = (part_.splits - distance - 1) * part_.owned + block;
      const uint32_t to = address_in(owner, from + at(slot));
      const uint32_t barrier = address_in(owner, barriers_.sums());
#pragma unroll
      for (int s = 0; s < Shape::kStreams; ++s) {
        send(to + s * Shape::kThreads * 16, sum[s][n], barrier);
      }
    }
  }

  template <typename Output>
  __device__ __forceinline__ void write(const Sums& sum, int unit) {
    const HeldMatrix& matrix = matrix_of<Shape::kStreams>(args_, unit, 0);
    const int first_row = row_of(unit, matrix);
    const int tokens_left = args_.tokens - token_of(0);
    const int rows_left = matrix.rows - first_row;
    auto* out = static_cast<Output*>(matrix.out) + token_of(0) * matrix.out_stride + first_row;
#pragma unroll
    for (int n = 0; n < Shape::kBlocks; ++n) {
      if (n >= part_.owned) break;
      float value[Shape::kStreams][4];
#pragma unroll
      for (int s = 0; s < Shape::kStreams; ++s) {
#pragma unroll
        for (int e = 0; e < 4; ++e) value[s][e] = sum[s][n][e];
      }
#pragma unroll
      for (int d = 1; d < kHeldSplits; ++d) {
        if (d >= part_.splits) break;
#pragma unroll
        for (int s = 0; s < Shape::kStreams; ++s) {
          const float4 more = *reinterpret_cast<const float4*>(
              shared_ + mine_ + at((d - 1) * part_.owned + n) + s * Shape::kThreads * 16);
          value[s][0] += more.x, value[s][1] += more.y;
          value[s][2] += more.z, value[s][3] += more.w;
        }
      }
      const float2 upper = unpack_bf16(residual_[0]), lower = unpack_bf16(residual_[1]);
      const float residual[4] = {upper.x, upper.y, lower.x, lower.y};
      if (n + 1 < part_.owned) expect(unit, n + 1);
      const float2 factors = factors_of(n);
      float result[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float factor = e % 2 == 0 ? factors.x : factors.y;
        result[e] = value[0][e] * factor;
        if constexpr (Shape::kStreams == 2) {
          result[e] = silu(result[e]) * (value[1][e] * factor);
        }
        result[e] += residual[e];
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (n * 8 + e % 2 >= tokens_left || e / 2 * 8 >= rows_left) continue;
        put(out + e % 2 * matrix.out_stride + e / 2 * 8, result[e]);
      }
      out += 8 * matrix.out_stride;
    }
  }
  static __device__ __forceinline__ void put(float* to, float value) { *to = value; }
  static __device__ __forceinline__ void put(__nv_bfloat16* to, float value) {
    *to = __float2bfloat16_rn(value);
  }

  // Of this thread's four sums: their first row and token; the others are 8 rows, 1 token on.
  [[nodiscard]] static __device__ __forceinline__ int row_of(int unit, const HeldMatrix& matrix) {
    return (unit - matrix.first_unit) * Shape::kWarps * kTileRows +
           static_cast<int>(threadIdx.x / 32 * kTileRows + threadIdx.x % 32 / 4);
  }
  [[nodiscard]] __device__ __forceinline__ int token_of(int block) const {
    return (part_.rank * part_.owned + block) * 8 + static_cast<int>(threadIdx.x % 4) * 2;
  }
  // RMSNorm's factors of this thread's two tokens of a block.
  [[nodiscard]] __device__ __forceinline__ float2 factors_of(int block) const {
    if (args_.gain == nullptr) return {1, 1};
    const auto* squares =
        reinterpret_cast<const float2*>(shared_ + args_.squares_at) + block * 4 + threadIdx.x % 4;
    float2 total = {0, 0};
#pragma unroll
    for (int from = 0; from < kHeldSplits; ++from) {
      if (from >= part_.splits) break;
      const float2 more = squares[from * part_.owned * 4];
      total.x += more.x, total.y += more.y;
    }
    return {inverse_root(total.x * args_.inverse_cols + args_.epsilon),
            inverse_root(total.y * args_.inverse_cols + args_.epsilon)};
  }
  // Of a number that is not subnormal, or infinity.
  static __device__ __forceinline__ float inverse_root(float value) {
    float root;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(value));
    return root;
  }
  const HeldArgs& args_;
  const HeldPart& part_;
  const HeldBarriers<Shape>& barriers_;
  char* shared_;
  int mine_;
  uint32_t residual_[2] = {};  // bf16, of a row of this thread's and then the other
};

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kPerProcessor)
    wide_held(const __grid_constant__ HeldArgs args) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  constexpr int kStreams = Shape::kStreams;
  extern __shared__ __align__(1024) char shared[];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const HeldPart part(args);
  const HeldBarriers<Shape> barriers = {shared_address(shared + args.barriers_at)};
  barriers.set_up(part);
  arrive_at_cluster();
  const int cluster = static_cast<int>(blockIdx.x) / part.splits;
  const int clusters = static_cast<int>(gridDim.x) / part.splits;

  const char* ring = shared + args.rings_at + warp * Shape::kRing * Shape::kStageBytes;
  const uint32_t ring_address = shared_address(ring);
  HeldCopies<Shape> copies(args, part, cluster, clusters);
#pragma unroll 1
  for (int i = 0; i < Shape::kRing; ++i) copies.start(ring_address + i * Shape::kStageBytes);
  hold_rows<Shape>(args, part, barriers, shared);
  __syncthreads();

  float sum[kStreams][Shape::kBlocks][4] = {};
  const auto zero = static_cast<uint32_t>(args.splits >> 16);  // which the compiler does not know
  // Operands of two tiles: one in products under way, one being made.
  Fragment a[2][4][kStreams];
  ScaledTile<kFormat> weights[kStreams];
  uint32_t place = 0;  // in the ring, bytes
  const auto read_tile = [&] {
    wait_for_copies<Shape::kRing - 1>();
    __syncwarp();  // other lanes copied the scales
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const char* slot = ring + place + s * Shape::kSlotBytes;
      weights[s].read(slot, slot + Shape::kCodeBytes, lane);
    }
  };
  const auto prepare = [&](Fragment(&to)[4][kStreams]) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const uint2 factor = weights[s].factors(0);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if constexpr (is_quantised(kFormat)) {
          to[j][s] = scaled_in_order(weights[s].codes(j), factor);
        } else {
          to[j][s] = moved_in_order(weights[s].codes(j), zero);
        }
      }
    }
  };
  // Products with one tile; meanwhile the operands of the next.
  const auto multiply = [&](const Fragment(&with)[4][kStreams], Fragment(&next)[4][kStreams],
                            uint64_t x) {
    begin_products();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        wgmma<Shape::kTokens>(sum[s], with[j][s], operand_ahead(x, 32 * j));
      }
    }
    commit_products();
    __syncwarp();  // all have read their scales
    copies.start(ring_address + place);
    place = place == (Shape::kRing - 1) * Shape::kStageBytes ? 0 : place + Shape::kStageBytes;
    read_tile();
    wait_for_products<1>();
    prepare(next);
  };
  read_tile();
  prepare(a[0]);
  const uint64_t operand = swizzled_operand(shared_address(shared));
  HeldFinish<Shape> finish(args, part, barriers, shared);
  int round = 0;
  for (int unit = cluster; unit < args.units; unit += clusters, ++round) {
    uint64_t x = operand;
    finish.expect(unit, 0);
    for (int t = part.begin; t < part.end; t += 2) {
      multiply(a[0], a[1], x);
      multiply(a[1], a[0], operand_ahead(x, Shape::kTileBytes));
      x = operand_ahead(x, 2 * Shape::kTileBytes);
    }
    wait_for_products<0>();
    finish.run(sum, unit, round, unit + clusters >= args.units);
  }
}

template <typename Shape>
void launch_shape(const Stream& on, const HeldArgs& args, int64_t shared) {
  const auto* kernel = reinterpret_cast<const void*>(wide_held<Shape>);
  int clusters = args.units;
  if (clusters * args.splits > on.multiprocessors) {
    // As many as run together, that each reads x once.
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared)));
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(args.splits), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = static_cast<unsigned>(args.splits);
    config.blockDim = Shape::kThreads;
    config.dynamicSmemBytes = static_cast<size_t>(shared);
    config.attrs = &cluster;
    config.numAttrs = 1;
    int resident = 0;
    CUDA_CHECK(cudaOccupancyMaxActiveClusters(&resident, kernel, &config));
    resident = std::min(resident, on.multiprocessors * Shape::kPerProcessor / args.splits);
    clusters = std::min(clusters, std::max(resident, 1));
  }
  launch_in_clusters(on, static_cast<unsigned>(args.splits), wide_held<Shape>,
                     static_cast<unsigned>(clusters * args.splits), Shape::kThreads, shared, args);
}

}  // namespace

template <WeightFormat kFormat>
void launch_held(const Stream& on, const HeldArgs& args, const HeldShapeOf& shape, int64_t shared) {
  const bool few = shape.tokens == 32;
  if (shape.streams == 2) {
    return few ? launch_shape<HeldShape<kFormat, 32, 2, 8>>(on, args, shared)
               : launch_shape<HeldShape<kFormat, 64, 2, 8>>(on, args, shared);
  }
  if (shape.warps == 16) {
    return few ? launch_shape<HeldShape<kFormat, 32, 1, 16>>(on, args, shared)
               : launch_shape<HeldShape<kFormat, 64, 1, 16>>(on, args, shared);
  }
  few ? launch_shape<HeldShape<kFormat, 32, 1, 8>>(on, args, shared)
      : launch_shape<HeldShape<kFormat, 64, 1, 8>>(on, args, shared);
}

}  // namespace switchyard::cuda
