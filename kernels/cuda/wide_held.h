// Products with some rows of x on sm_90a. A cluster of blocks shares the columns: each block keeps
// its columns of up to 64 rows of x in shared memory while weights stream past, and the blocks add
// up their sums through each other's shared memory. More rows are shared out among clusters that
// read the same weights at about the same time. The norm of the input happens inside. Roundings
// are those of wide.h. Internal to wide*.cu.
#pragma once

#include "kernels/cuda/wide.h"

namespace switchyard::cuda {

inline constexpr int kHeldRows = 512;

// Does nothing and says false where device, sizes or alignment do not suit, or the tiled kernels
// are faster: beyond 64 rows where gated, or with columns for more than four blocks, or with more
// rows of weights than a few rounds take. Does not write input.normed.
[[nodiscard]] bool held_product(const Stream& on, const WideProduct& product);

}  // namespace switchyard::cuda
