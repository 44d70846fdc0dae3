// RMS norm, over rows and over the heads within a row.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

// out[i] = x[i] * rsqrt(mean(x^2) + epsilon) * gain[i]; out may be x.
void rms_norm(const float* x, const float* gain, float epsilon, int64_t count, float* out);

// Fills input.normed, if the input has a gain.
void norm_input(ThreadPool& pool, const NormedInput& input);

}  // namespace switchyard::cpu
