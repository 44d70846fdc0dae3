// The gated short convolution of LFM2.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void short_conv(ThreadPool& pool, const ShortConvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cpu
