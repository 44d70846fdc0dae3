// Blocks of a cluster: what they send to each other's shared memory, and barriers there that
// count what has come. A barrier of the whole cluster that publishes stores would also
// wait for everything under way in device memory; these do not. Device code only.
#pragma once

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

__device__ __forceinline__ uint32_t blocks_in_cluster() {
  uint32_t count;
  asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(count));
  return count;
}

// Every thread of the cluster arrives, then waits: all blocks run, and see barriers set up before.
__device__ __forceinline__ void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
// The same, in place of arriving: what was done in shared memory comes before what others do after
// their wait. A fence of all memory.
__device__ __forceinline__ void release_to_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Where block `rank` of the cluster has what this block has at `shared`.
__device__ __forceinline__ uint32_t address_in(int rank, uint32_t shared) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared), "r"(rank));
  return there;
}

// A phase of a barrier ends when `arrivals` threads arrived and all bytes came that they expect.
// By one thread, before it arrives at the cluster.
__device__ __forceinline__ void set_up_barrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(barrier), "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void expect_bytes(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(barrier), "r"(bytes)
               : "memory");
}
// `barrier` is an address in the cluster.
__device__ __forceinline__ void arrive_there(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" : : "r"(barrier) : "memory");
}
// Until phase `phase`, counted from 0, has ended; the one after it must not have.
__device__ __forceinline__ void wait_for_phase(uint32_t barrier, int phase) {
  asm volatile(
      "{ .reg .pred done;\n"
      "$L_wait_%=: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra $L_wait_%=; }"
      :
      : "r"(barrier), "r"(phase & 1)
      : "memory");
}
// The same; and what blocks of the cluster did before they ended it is seen.
__device__ __forceinline__ void wait_for_phase_of_cluster(uint32_t barrier, int phase) {
  asm volatile(
      "{ .reg .pred done;\n"
      "$L_wait_%=: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra $L_wait_%=; }"
      :
      : "r"(barrier), "r"(phase & 1)
      : "memory");
}

// To a block's shared memory, in the background; its barrier counts the bytes when they are there.
__device__ __forceinline__ void send(uint32_t to, float value, uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];"
               :
               : "r"(to), "f"(value), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void send(uint32_t to, const float2& value, uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
               :
               : "r"(to), "f"(value.x), "f"(value.y), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void send(uint32_t to, const float4& value, uint32_t barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];"
      :
      : "r"(to), "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(barrier)
      : "memory");
}

}  // namespace switchyard::cuda
