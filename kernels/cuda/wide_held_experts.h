// Products with chosen int4 experts of a few dozen entries each, on sm_90a. A block keeps a tile of
// an expert's entries in shared memory, all columns, while rows of the expert's weights stream
// past; blocks take even shares of all experts' rows. Roundings are those of wide.h. Internal to
// wide.cu.
#pragma once

#include "kernels/cuda/wide.h"

namespace switchyard::cuda {

// Does nothing and says false where device, sizes or alignment do not suit, or experts have so many
// entries on average that larger tiles read weights less often.
[[nodiscard]] bool held_experts(const Stream& on, const WideExperts& product);

}  // namespace switchyard::cuda
