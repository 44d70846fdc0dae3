// Which device there is, and whether this build can use it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace switchyard::cuda {

struct Device {
  int multiprocessors = 0;
  int capability = 0;        // 10 * major + minor
  int64_t shared_bytes = 0;  // that one block may have
};

struct Probe {
  std::optional<Device> device;
  std::string message;  // "cuda, NVIDIA H200 (sm_90), 139.8 GiB, 139.2 GiB free", or what is wrong
};

// Device 0, made current for this thread. Never stops the process.
Probe probe_device();

}  // namespace switchyard::cuda
