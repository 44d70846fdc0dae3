// The gated short convolution of few tokens in one step: the projection and, as its epilogue, the
// convolution and the state.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// Whether narrow_conv takes these sizes.
bool conv_is_narrow(const Stream& on, const ShortConvArgs& args);

void narrow_conv(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
