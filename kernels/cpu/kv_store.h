// Writes new keys and values into the paged cache.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

// `kv` is [tokens, 2 * kv_heads * head_dim]: all keys of a token, then all its values.
void store_kv(ThreadPool& pool,
              const Tensor& kv,
              const KvCache& cache,
              const AttentionShape& shape,
              const int32_t* kv_slot);

}  // namespace switchyard::cpu
