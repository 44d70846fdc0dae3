#include "kernels/cuda/device_memory.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/launch.h"

namespace switchyard::cuda {
namespace {

class PinnedReadback final : public Readback {
 public:
  PinnedReadback(cudaStream_t stream, void* pinned, int64_t bytes)
      : stream_(stream), pinned_(pinned), bytes_(bytes) {
    CUDA_CHECK(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming));
  }
  ~PinnedReadback() override {
    CUDA_CHECK(cudaEventSynchronize(copied_));
    CUDA_CHECK(cudaEventDestroy(copied_));
    CUDA_CHECK(cudaFreeHost(pinned_));
  }
  void start(const void* device, int64_t bytes) override {
    CHECK(bytes >= 0 && bytes <= bytes_);
    copied_bytes_ = bytes;
    if (bytes > 0) {
      CUDA_CHECK(cudaMemcpyAsync(pinned_, device, static_cast<size_t>(bytes),
                                 cudaMemcpyDeviceToHost, stream_));
    }
    CUDA_CHECK(cudaEventRecord(copied_, stream_));
  }
  std::span<const std::byte> wait() override {
    CUDA_CHECK(cudaEventSynchronize(copied_));
    return {static_cast<const std::byte*>(pinned_), static_cast<size_t>(copied_bytes_)};
  }

 private:
  cudaStream_t stream_;
  void* pinned_;
  int64_t bytes_;
  int64_t copied_bytes_ = 0;
  cudaEvent_t copied_ = nullptr;
};

}  // namespace

void StreamDeleter::operator()(cudaStream_t stream) const { CUDA_CHECK(cudaStreamDestroy(stream)); }

StreamHandle make_stream(const Device&) {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return StreamHandle(stream);
}

Buffer allocate(const StreamHandle& stream, int64_t bytes) {
  CHECK(bytes >= 0);
  void* memory = nullptr;
  if (cudaMalloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1))) != cudaSuccess) {
    (void)cudaGetLastError();  // not to be met again by the next launch
    return {};
  }
  CUDA_CHECK(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), stream.get()));
  return Buffer(memory, bytes, [](void* mine) { CUDA_CHECK(cudaFree(mine)); });
}

int64_t free_bytes() {
  size_t free = 0;
  size_t total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

UploadRing::UploadRing(const StreamHandle& stream) : stream_(stream.get()) {
  for (Slot& slot : slots_) {
    CUDA_CHECK(cudaMallocHost(&slot.pinned, kSlotBytes));
    CUDA_CHECK(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming));
  }
}

UploadRing::~UploadRing() {
  for (const Slot& slot : slots_) {
    CUDA_CHECK(cudaEventSynchronize(slot.copied));
    CUDA_CHECK(cudaEventDestroy(slot.copied));
    CUDA_CHECK(cudaFreeHost(slot.pinned));
  }
}

void UploadRing::upload(void* device, const void* host, int64_t bytes) {
  const auto* from = static_cast<const char*>(host);
  auto* to = static_cast<char*>(device);
  for (int64_t done = 0; done < bytes;) {
    const int64_t piece = std::min(bytes - done, kSlotBytes);
    const Slot& slot = slots_[static_cast<size_t>(next_)];
    next_ = (next_ + 1) % kSlots;
    CUDA_CHECK(cudaEventSynchronize(slot.copied));
    std::memcpy(slot.pinned, from + done, static_cast<size_t>(piece));
    CUDA_CHECK(cudaMemcpyAsync(to + done, slot.pinned, static_cast<size_t>(piece),
                               cudaMemcpyHostToDevice, stream_));
    CUDA_CHECK(cudaEventRecord(slot.copied, stream_));
    done += piece;
  }
}

std::unique_ptr<Readback> make_readback(const StreamHandle& stream, int64_t bytes) {
  void* pinned = nullptr;
  if (cudaMallocHost(&pinned, static_cast<size_t>(std::max<int64_t>(bytes, 1))) != cudaSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return std::make_unique<PinnedReadback>(stream.get(), pinned, bytes);
}

}  // namespace switchyard::cuda
