// q, k and v of few tokens in one step: the projection of a head and, as its epilogue, its norm,
// its rotation and its place in the cache.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// Whether narrow_qkv takes these sizes.
bool qkv_is_narrow(const Stream& on, const QkvArgs& args);

void narrow_qkv(const Stream& on, const QkvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
