// What follows the projections to queries, keys and values: q/k norm, rotary embedding, the write
// into the cache.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// args.q holds the projected queries and is finished in place. args.kv_work holds, for each token,
// the projected keys of all kv heads and then the values; they go to the cache at batch.kv_slot.
// head_dim even and <= 256. Input, projections and gain of the input are not looked at.
void qkv_finish(const Stream& on, const QkvArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
