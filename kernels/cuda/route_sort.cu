// A block finds the entries of one expert: it counts them and those of lower experts, each warp in
// its own stretch of the entries, then writes its own in rising order. Those of padding, -1, are of
// no expert and, as unsigned numbers, of none lower. bytes: E * T * K * 8, of L2.
#include "kernels/cuda/route_sort.h"

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kAtOnce = 8;  // entries of a lane under way together

__global__ void __launch_bounds__(kThreads)
    sort_entries(const int32_t* expert, int entries, int32_t* order, int32_t* expert_start) {
  __shared__ int lower_of[kWarps], mine_of[kWarps];
  let_next_start();
  wait_for_previous();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const auto* chosen_expert = reinterpret_cast<const uint32_t*>(expert);
  const uint32_t wanted = blockIdx.x;
  // Whole groups of lanes a warp.
  const int stretch = (entries + kThreads - 1) / kThreads * 32;
  const int begin = min(warp * stretch, entries);
  const int end = min(begin + stretch, entries);
  int lower = 0;
  int mine = 0;
  for (int i = begin + lane; i < end; i += 32 * kAtOnce) {
    uint32_t chosen[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      chosen[j] = i + j * 32 < end ? chosen_expert[i + j * 32] : wanted + 1;
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      lower += chosen[j] < wanted ? 1 : 0;
      mine += chosen[j] == wanted ? 1 : 0;
    }
  }
  lower = __reduce_add_sync(~0u, lower);
  mine = __reduce_add_sync(~0u, mine);
  if (lane == 0) {
    lower_of[warp] = lower;
    mine_of[warp] = mine;
  }
  __syncthreads();
  const int start = __reduce_add_sync(~0u, lower_of[lane]);
  int place = start + __reduce_add_sync(~0u, lane < warp ? mine_of[lane] : 0);
  const int all_mine = __reduce_add_sync(~0u, mine_of[lane]);
  if (threadIdx.x == 0) {
    expert_start[wanted] = start;
    if (wanted + 1 == gridDim.x) expert_start[gridDim.x] = start + all_mine;
  }
  if (mine == 0) return;
  for (int first = begin; first < end; first += 32 * kAtOnce) {
    uint32_t chosen[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + lane + j * 32;
      chosen[j] = i < end ? chosen_expert[i] : wanted + 1;
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const unsigned found = __ballot_sync(~0u, chosen[j] == wanted);
      if (chosen[j] == wanted) {
        order[place + __popc(found & ((1u << lane) - 1))] = first + lane + j * 32;
      }
      place += __popc(found);
    }
  }
}

}  // namespace

void sort_by_expert(const Stream& on, const Routing& routing) {
  const auto experts = static_cast<unsigned>(routing.expert_start.dim(0) - 1);
  launch(on, sort_entries, experts, kThreads, 0, routing.expert.i32(),
         static_cast<int>(routing.order.dim(0)), routing.order.i32(), routing.expert_start.i32());
}

}  // namespace switchyard::cuda
