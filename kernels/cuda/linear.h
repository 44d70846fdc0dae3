// linear and gated_linear: which kernel computes a product, by its rows.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void linear(const Stream& on, const LinearArgs& args);
void gated_linear(const Stream& on, const GatedLinearArgs& args);

}  // namespace switchyard::cuda
