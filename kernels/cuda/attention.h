// Attention over the paged cache: which kernel, by the rows' lengths.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void attention(const Stream& on, const AttentionArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
