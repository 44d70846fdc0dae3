// Attention over the paged cache, and the projections that feed it.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void qkv(ThreadPool& pool, const QkvArgs& args, const RaggedBatch& batch);
void attention(ThreadPool& pool, const AttentionArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cpu
