#include "kernels/cuda/probe.h"

#include <cuda_runtime.h>

#include <cstdio>

#include "kernels/cuda/loadable.h"

namespace switchyard::cuda {
namespace {

constexpr int kOldestCapability = 80;
constexpr size_t kLeastFreeBytes = size_t{1} << 30;

std::string version_text(int version) {  // 13000 is 13.0
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string gib(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

Probe failed(const std::string& why) { return {.device = std::nullopt, .message = why}; }

}  // namespace

Probe probe_device() {
  int driver = 0;
  int runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return failed("no NVIDIA driver");
  }
  (void)cudaRuntimeGetVersion(&runtime);
  if (driver / 1000 < runtime / 1000) {
    return failed("the NVIDIA driver supports CUDA up to " + version_text(driver) +
                  ", this build needs " + version_text(runtime));
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    return failed(std::string("no CUDA device: ") +
                  (error == cudaSuccess ? "none is visible" : cudaGetErrorString(error)));
  }
  cudaDeviceProp properties = {};
  cudaError_t error = cudaSetDevice(0);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  size_t free = 0;
  size_t total = 0;
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) {
    return failed(std::string("CUDA device 0 cannot be used: ") + cudaGetErrorString(error));
  }
  const int capability = properties.major * 10 + properties.minor;
  const std::string device =
      std::string(properties.name) + " (sm_" + std::to_string(capability) + ")";
  if (capability < kOldestCapability) {
    return failed(device + " is older than sm_" + std::to_string(kOldestCapability));
  }
  if (!kernels_load()) {
    return failed("this build has no kernels for " + device + "; set CMAKE_CUDA_ARCHITECTURES");
  }
  if (free < kLeastFreeBytes) {
    return failed(device + " has " + gib(free) + " free of " + gib(total) + ", needs " +
                  gib(kLeastFreeBytes) + " at the least");
  }
  return {.device = Device{.multiprocessors = properties.multiProcessorCount,
                           .capability = capability,
                           .shared_bytes = static_cast<int64_t>(properties.sharedMemPerBlockOptin)},
          .message = "cuda, " + device + ", " + gib(total) + ", " + gib(free) + " free"};
}

}  // namespace switchyard::cuda
