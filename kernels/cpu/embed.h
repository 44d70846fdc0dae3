// Rows of the embedding table.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void embed(ThreadPool& pool, const EmbedArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cpu
