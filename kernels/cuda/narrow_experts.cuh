// What the narrow kernels over chosen experts share. Device code only.
#pragma once

#include "kernels/cuda/narrow_tile.cuh"

namespace switchyard::cuda {

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

}  // namespace switchyard::cuda
