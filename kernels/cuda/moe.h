// Products with the chosen experts: which kernel, by the tokens.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void expert_up(const Stream& on, const ExpertUpArgs& args);
// `routed`: the router has ended when this starts, because an expert_up lies between, whose kernels
// let the next start only when they have waited.
void expert_down(const Stream& on, const ExpertDownArgs& args, bool routed);

}  // namespace switchyard::cuda
