// Logits to tokens.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void sample(const Stream& on, const SampleArgs& args);

}  // namespace switchyard::cuda
