// The choices of all tokens, sorted by expert.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// Writes routing.order and routing.expert_start from routing.expert.
void sort_by_expert(const Stream& on, const Routing& routing);

}  // namespace switchyard::cuda
