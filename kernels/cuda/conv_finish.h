// What follows the projection of the gated short convolution.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

inline constexpr int kMaxConvTaps = 8;

// args.projected_work holds [B | C | x]; writes args.out and args.state (see ShortConvArgs).
// At most kMaxConvTaps taps.
void conv_finish(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
