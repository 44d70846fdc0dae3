// Whether the kernels of this build run on the current device.
#pragma once

namespace switchyard::cuda {

bool kernels_load();

}  // namespace switchyard::cuda
