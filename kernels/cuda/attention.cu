#include "kernels/cuda/attention.h"

#include <bit>

#include "kernels/cuda/attention_task.h"

namespace switchyard::cuda {
namespace {

bool on_16_bytes(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

bool fits_tensor_cores(const AttentionTask& task, DType cache) {
  return cache == DType::kBf16 && (task.head_dim == 64 || task.head_dim == 128) &&
         task.group <= kDecodeQueries && task.block_tokens >= 16 &&
         std::has_single_bit(static_cast<unsigned>(task.block_tokens)) && on_16_bytes(task.q) &&
         on_16_bytes(task.out) && on_16_bytes(task.key) && on_16_bytes(task.value);
}

}  // namespace

void attention(const Stream& on, const AttentionArgs& args, const RaggedBatch& batch) {
  if (batch.num_tokens == 0) return;
  const AttentionTask task = {.q = static_cast<const __nv_bfloat16*>(args.q.data),
                              .out = static_cast<__nv_bfloat16*>(args.out.data),
                              .key = args.cache.key.data,
                              .value = args.cache.value.data,
                              .row_start = batch.row_start,
                              .kv_len = batch.kv_len,
                              .block_start = batch.block_start,
                              .block_id = batch.block_id,
                              .tokens = batch.num_tokens,
                              .rows = batch.num_rows,
                              .kv_heads = args.shape.kv_heads,
                              .group = args.shape.heads / args.shape.kv_heads,
                              .head_dim = args.shape.head_dim,
                              .block_tokens = args.shape.block_tokens,
                              .scale = args.scale};
  CHECK(task.scale > 0);
  const DType cache = args.cache.key.dtype;
  if (!fits_tensor_cores(task, cache)) return attention_general(on, task, cache);
  if (task.tokens == task.rows) return attention_decode(on, task, task.tokens);
  const int longest = kDecodeQueries / task.group;
  attention_prefill(on, task, longest);
  attention_decode(on, task, longest);
}

}  // namespace switchyard::cuda
