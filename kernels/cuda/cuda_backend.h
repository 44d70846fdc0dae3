// The CUDA backend: bf16 activations, f32 accumulation, weights in the layout of tile_layout.h.
// Owns the stream and the memory; only wires ops to their stems.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

struct MadeCudaBackend {
  std::unique_ptr<Backend> backend;  // null: `message` says why
  std::string message;               // the device and its memory, or what is wrong
};

// On device 0. Fails if there is no driver or device, if the driver is older than this build needs,
// or if the device is older than sm_80 or not among the architectures of this build.
MadeCudaBackend make_cuda_backend();

// How fast the device reads its memory, in bytes per second: a sum over 8 GiB, or as much as there
// is. 0 when there is no device.
double measure_cuda_read_bandwidth();

}  // namespace switchyard
