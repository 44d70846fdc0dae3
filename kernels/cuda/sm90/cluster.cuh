// Thread block clusters: a barrier over a cluster's blocks, and stores to the shared memory of
// another block that count towards what it waits for.
// Device code only, sm_90.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

__device__ __forceinline__ uint32_t blocks_of_cluster() {
  uint32_t count;
  asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(count));
  return count;
}

// By every thread of every block of the cluster: nobody passes wait_for_cluster() before all came
// to one of these. Before the first time there is nothing to be ordered but that they run; later,
// what was done in shared memory is, by a fence of all memory.
__device__ __forceinline__ void arrive_at_cluster_first() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Bytes that others of the cluster store here, in rounds. One thread calls begin() and expect().
class Incoming {
 public:
  // Before arrive_at_cluster_first().
  __device__ void begin() {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(address()) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  // How many there will be in the next round.
  __device__ void expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(address()), "r"(bytes)
                 : "memory");
  }
  // Until all of round `round` are here. By every thread that reads them.
  __device__ void wait(int round) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}"
        :
        : "r"(address()), "r"(round & 1)
        : "memory");
  }
  [[nodiscard]] __device__ uint32_t address() const { return shared_address(&barrier_); }

 private:
  uint64_t barrier_;
};

// Where block `block` of the cluster has what this one has at shared address `mine`.
__device__ __forceinline__ uint32_t in_block(uint32_t mine, int block) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(mine), "r"(block));
  return address;
}

// Both addresses are of one block.
__device__ __forceinline__ void send(uint32_t to, uint32_t incoming, const float4& x) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];"
      :
      : "r"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "r"(incoming)
      : "memory");
}
__device__ __forceinline__ void send(uint32_t to, uint32_t incoming, const float2& x) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
               :
               : "r"(to), "f"(x.x), "f"(x.y), "r"(incoming)
               : "memory");
}

}  // namespace switchyard::cuda
