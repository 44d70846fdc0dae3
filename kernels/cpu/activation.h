// Elementwise functions.
#pragma once

#include <cstdint>

namespace switchyard::cpu {

// gate[i] = silu(gate[i]) * up[i],  silu(x) = x / (1 + exp(-x)).
void silu_multiply(float* gate, const float* up, int64_t count);

}  // namespace switchyard::cpu
