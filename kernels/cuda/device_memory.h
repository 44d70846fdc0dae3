// The stream and the memory of the CUDA backend: device buffers, uploads that need not wait, copies
// back that wait for themselves only.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "kernels/backend.h"
#include "kernels/cuda/probe.h"

namespace switchyard::cuda {

struct StreamDeleter {
  void operator()(cudaStream_t stream) const;
};
using StreamHandle = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, StreamDeleter>;

StreamHandle make_stream(const Device& device);

// Zeroed, in the stream's order. Empty when there is not enough.
Buffer allocate(const StreamHandle& stream, int64_t bytes);
int64_t free_bytes();

// Uploads go through pinned slots: the caller's memory is free when upload() returns, and a small
// upload does not wait for the device unless all slots are under way. Large ones wait.
class UploadRing {
 public:
  explicit UploadRing(const StreamHandle& stream);
  ~UploadRing();
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  void upload(void* device, const void* host, int64_t bytes);

 private:
  static constexpr int kSlots = 4;
  static constexpr int64_t kSlotBytes = 4 << 20;
  struct Slot {
    void* pinned = nullptr;
    cudaEvent_t copied = nullptr;
  };
  cudaStream_t stream_;
  std::array<Slot, kSlots> slots_{};
  int next_ = 0;
};

std::unique_ptr<Readback> make_readback(const StreamHandle& stream, int64_t bytes);

}  // namespace switchyard::cuda
