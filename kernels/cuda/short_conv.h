// The gated short convolution.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void short_conv(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
