// Weights into the layout of tile_layout.h: rounding, choosing scales, reordering. Also random
// numbers.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void pack(const Stream& on, const PackArgs& args);
void fill_normal(const Stream& on, const NormalArgs& args);

}  // namespace switchyard::cuda
