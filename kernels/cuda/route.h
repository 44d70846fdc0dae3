// The router: scores, choice, weights, and the choices sorted by expert.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void route(const Stream& on, const RouteArgs& args);

}  // namespace switchyard::cuda
