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
  extern __shared__ __align__(1024) char shared[];
  let_next_start();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const HeldPart part(args);
  const HeldBarriers<Shape> barriers = {shared_address(shared + args.barriers_at)};
  barriers.set_up(part);
  arrive_at_cluster();
  const int cluster = static_cast<int>(blockIdx.x) / part.splits;
  const int clusters = static_cast<int>(gridDim.x) / part.splits;

  using Copies = HeldCopies<Shape, const HeldRows<Shape>>;
  const HeldRows<Shape> rows = {args};
  Copies copies({.first = cluster,
                 .stride = clusters,
                 .units = args.units,
                 .begin = part.begin,
                 .end = part.end,
                 .k_tiles = args.k_tiles,
                 .group_shift = args.group_shift},
                rows);
  HeldOperands<Shape, Copies> operands(copies, shared + args.rings_at + warp * Shape::kRingBytes,
                                       static_cast<uint32_t>(args.splits >> 16));
  hold_rows<Shape>(args, part, barriers, shared);
  __syncthreads();

  float sum[Shape::kStreams][Shape::kBlocks][4] = {};
  operands.begin();
  const uint64_t first = swizzled_operand(shared_address(shared));
  HeldFinish<Shape> finish(args, part, barriers, shared);
  int round = 0;
  for (int unit = cluster; unit < args.units; unit += clusters, ++round) {
    uint64_t x = first;
    finish.expect(unit, 0);
    for (int t = part.begin; t < part.end; t += 2) {
      operands.template multiply<0, Shape::kTokens>(sum, x);
      operands.template multiply<1, Shape::kTokens>(sum, operand_ahead(x, Shape::kTileBytes));
      x = operand_ahead(x, 2 * Shape::kTileBytes);
    }
    wait_for_products<0>();
    finish.run(sum, unit, round, unit + clusters >= args.units);
  }
}

template <typename Shape>
void launch_shape(const Stream& on, const HeldArgs& args, int64_t shared) {
  const auto* kernel = reinterpret_cast<const void*>(wide_held<Shape>);
  const int tiles = (args.tokens + Shape::kTokens - 1) / Shape::kTokens;
  int clusters = args.units;
  if (clusters * tiles * args.splits > on.multiprocessors) {
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
    clusters = std::min(clusters, std::max(resident / tiles, 1));
  }
  launch_in_clusters(
      on, static_cast<unsigned>(args.splits), wide_held<Shape>,
      dim3(static_cast<unsigned>(clusters * args.splits), static_cast<unsigned>(tiles)),
      Shape::kThreads, shared, args);
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
