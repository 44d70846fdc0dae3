#include "kernels/cuda/loadable.h"

#include <cuda_runtime.h>

namespace switchyard::cuda {
namespace {

__global__ void empty_kernel() {}

}  // namespace

bool kernels_load() {
  cudaFuncAttributes attributes = {};
  const bool loads = cudaFuncGetAttributes(&attributes, empty_kernel) == cudaSuccess;
  (void)cudaGetLastError();  // not to be met again by the next launch
  return loads;
}

}  // namespace switchyard::cuda
