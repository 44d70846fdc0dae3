// Projections to queries, keys and values; q/k norm; rotary embedding; the write into the cache.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void qkv(const Stream& on, const QkvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
