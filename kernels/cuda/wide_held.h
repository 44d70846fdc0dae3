// Products with up to 64 rows of x on sm_90a. A cluster of blocks shares the columns: each block
// keeps its columns of all rows of x in shared memory while weights stream past, and the blocks add
// up their sums through each other's shared memory. Every weight is read once, x once a block; the
// norm of the input happens inside. Roundings are those of wide.h. Internal to wide*.cu.
#pragma once

#include "kernels/cuda/wide.h"

namespace switchyard::cuda {

inline constexpr int kHeldRows = 64;

// Does nothing and says false where device, sizes or alignment do not suit. Does not write
// input.normed.
[[nodiscard]] bool held_product(const Stream& on, const WideProduct& product);

}  // namespace switchyard::cuda
