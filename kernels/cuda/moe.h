// Products with the chosen experts: which kernel, by the tokens.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void expert_up(const Stream& on, const ExpertUpArgs& args);
void expert_down(const Stream& on, const ExpertDownArgs& args);

}  // namespace switchyard::cuda
