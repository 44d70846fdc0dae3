// Logits to tokens.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// No edit may belong to two rows: what an edit replaced is kept by its index, for
// log-probabilities.
void sample(const Stream& on, const SampleArgs& args);

}  // namespace switchyard::cuda
