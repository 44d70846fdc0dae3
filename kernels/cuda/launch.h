// Stream: where the CUDA backend's kernels go, and what of the device decides their shape.
// launch: how every kernel is started.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard::cuda {

// Stops the process, naming the call: a device that fails under us cannot be trusted further.
#define CUDA_CHECK(call)                                                                       \
  do {                                                                                         \
    const cudaError_t cuda_error = (call);                                                     \
    if (cuda_error != cudaSuccess) [[unlikely]]                                                \
      ::switchyard::check_failed(__FILE__, __LINE__, #call, ::cudaGetErrorString(cuda_error)); \
  } while (false)

struct Stream {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  int capability = 80;              // 10 * major + minor
  int64_t shared_bytes = 48 << 10;  // that one block may have
  // Device memory for what kernels of one op hand each other; its contents last for one op.
  // The first kWorkspaceCounters * 4 bytes are zero between ops: whoever counts there, resets.
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;

  [[nodiscard]] uint32_t* counters() const { return static_cast<uint32_t*>(workspace); }
  [[nodiscard]] void* partials() const {
    return static_cast<char*>(workspace) + int64_t{kCounters} * 4;
  }
  [[nodiscard]] int64_t partial_bytes() const { return workspace_bytes - int64_t{kCounters} * 4; }
  static constexpr int kCounters = 1 << 16;
};

// Enqueues kernel<<<grid, block, shared>>>(arguments...). Where the device can, the kernel starts
// while the one before still runs: it must call wait_for_previous() (device.cuh) before it touches
// anything that an op may have written, or writes anything, in every block.
// Each `cluster` blocks that follow each other in x form a cluster (sm_90; at most 8).
template <typename... Parameters, typename... Arguments>
void launch_in_clusters(const Stream& on,
                        unsigned cluster,
                        void (*kernel)(Parameters...),
                        dim3 grid,
                        dim3 block,
                        int64_t shared,
                        Arguments&&... arguments) {
  CHECK(shared <= on.shared_bytes);
  CHECK(cluster == 1 || on.capability >= 90);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > 48 << 10) {
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = static_cast<size_t>(shared);
  config.stream = on.stream;
  std::array<cudaLaunchAttribute, 2> attribute = {};
  attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute[0].val.programmaticStreamSerializationAllowed = 1;
  attribute[1].id = cudaLaunchAttributeClusterDimension;
  attribute[1].val.clusterDim = {cluster, 1, 1};
  config.attrs = attribute.data();
  config.numAttrs = on.capability < 90 ? 0 : cluster == 1 ? 1 : 2;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

template <typename... Parameters, typename... Arguments>
void launch(const Stream& on,
            void (*kernel)(Parameters...),
            dim3 grid,
            dim3 block,
            int64_t shared,
            Arguments&&... arguments) {
  launch_in_clusters(on, 1, kernel, grid, block, shared, std::forward<Arguments>(arguments)...);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace switchyard::cuda
