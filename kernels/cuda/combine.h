// The last step of the experts: their products, weighed and added to the residual.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// out[t] = residual[t] + sum_k routing.weight[t,k] * expert_work[t*K+k], k in order. `out` may be
// the residual's memory.
void combine_experts(const Stream& on, const ExpertDownArgs& args);

}  // namespace switchyard::cuda
