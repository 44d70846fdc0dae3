// Writes new keys and values into the paged cache, narrowed to its dtype.
// Threads split the heads, not the tokens: padding tokens share a slot of block 0, and each place
// in it must have one writer.
#include "kernels/cpu/kv_store.h"

#include "kernels/cpu/convert.h"

namespace switchyard::cpu {

void store_kv(ThreadPool& pool,
              const Tensor& kv,
              const KvCache& cache,
              const AttentionShape& shape,
              const int32_t* kv_slot) {
  const int64_t dim = shape.head_dim;
  const int64_t stride = kv.dim(1);
  const int64_t tokens = kv.dim(0);
  const int64_t slots = cache.key.dim(0) * shape.block_tokens;
  const int64_t head_bytes = dim * bytes_of(cache.key.dtype);
  pool.parallel_for(
      2 * shape.kv_heads, tokens < 8 ? 2 * shape.kv_heads : 1, [&](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; ++part) {
          const Tensor& to = part < shape.kv_heads ? cache.key : cache.value;
          const int64_t head = part % shape.kv_heads;
          for (int64_t t = 0; t < tokens; ++t) {
            const int64_t slot = kv_slot[t];
            CHECK(slot >= 0 && slot < slots);
            const int64_t block = slot / shape.block_tokens;
            const int64_t offset = slot % shape.block_tokens;
            const int64_t row = (block * shape.kv_heads + head) * shape.block_tokens + offset;
            narrow(kv.f32() + t * stride + part * dim, to.dtype, dim,
                   static_cast<char*>(to.data) + row * head_bytes);
          }
        }
      });
}

}  // namespace switchyard::cpu
