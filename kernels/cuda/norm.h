// RMSNorm of whole rows, for products too large to norm their own input.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// Writes input.normed; nothing if there is no gain.
void norm_input(const Stream& on, const NormedInput& input);

}  // namespace switchyard::cuda
