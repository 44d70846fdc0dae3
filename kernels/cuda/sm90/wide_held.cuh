// The held kernel: see wide_held.h. Warps share nothing while they multiply, for x does not change
// and each warp copies its own rows of weights through a ring of its own. Of the sums of a unit
// each block keeps those of its own tokens in registers and sends the others to their owners.
// Included by one file per format. Scales must cover whole tiles: groups of 64 columns or more.
#pragma once

#include "kernels/cuda/sm90/wide_held_finish.cuh"

namespace switchyard::cuda {
namespace {

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
