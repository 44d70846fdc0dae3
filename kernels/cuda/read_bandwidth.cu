// How fast the device reads its memory: what a memory-bound step is measured against.
#include <algorithm>
#include <array>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/probe.h"

namespace switchyard {
namespace {

constexpr int kThreads = 512;
constexpr int kUnroll = 8;

__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* data, int64_t pieces, uint32_t* out) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + (kUnroll - 1) * stride < pieces; i += kUnroll * stride) {
    uint4 piece[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) piece[u] = cuda::load_streamed(data + i + u * stride);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum ^= piece[u].x ^ piece[u].y ^ piece[u].z ^ piece[u].w;
  }
  for (; i < pieces; i += stride) sum ^= cuda::load_streamed(data + i).x;
  if (sum == 0x12345678u) *out = sum;  // never: only the compiler must not know
}

}  // namespace

double measure_cuda_read_bandwidth() {
  constexpr int64_t kMost = int64_t{8} << 30;
  constexpr int kRepetitions = 8;
  const cuda::Probe probe = cuda::probe_device();
  if (!probe.device) return 0;
  size_t free = 0;
  size_t total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  const int64_t bytes = std::min<int64_t>(kMost, static_cast<int64_t>(free / 4 * 3) / 4096 * 4096);
  uint4* data = nullptr;
  if (cudaMalloc(&data, static_cast<size_t>(bytes)) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  CUDA_CHECK(cudaMemset(data, 0x5a, static_cast<size_t>(bytes)));
  std::array<cudaEvent_t, 2> event{};
  for (cudaEvent_t& one : event) CUDA_CHECK(cudaEventCreate(&one));
  float best = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    CUDA_CHECK(cudaEventRecord(event[0], nullptr));
    read_all<<<probe.device->multiprocessors * 4, kThreads>>>(data, bytes / 16,
                                                              reinterpret_cast<uint32_t*>(data));
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaEventRecord(event[1], nullptr));
    CUDA_CHECK(cudaEventSynchronize(event[1]));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, event[0], event[1]));
    best = std::max(best, static_cast<float>(bytes) / ms);
  }
  for (cudaEvent_t one : event) CUDA_CHECK(cudaEventDestroy(one));
  CUDA_CHECK(cudaFree(data));
  return static_cast<double>(best) * 1000;
}

}  // namespace switchyard
