// Logits become tokens.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void sample(ThreadPool& pool, const SampleArgs& args);

}  // namespace switchyard::cpu
