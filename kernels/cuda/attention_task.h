// One call of attention as its kernels see it, and the kernels to choose from. attention.cu
// chooses.
#pragma once

#include <cuda_bf16.h>

#include "kernels/base/tensor.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// Pointers are device memory. Token i of a row with n new ones sees keys [0, kv_len - n + i].
struct AttentionTask {
  const __nv_bfloat16* q = nullptr;      // [tokens, heads, head_dim]
  __nv_bfloat16* out = nullptr;          // the same
  const void* key = nullptr;             // [blocks, kv_heads, block_tokens, head_dim]
  const void* value = nullptr;           // the same
  const int32_t* row_start = nullptr;    // [rows + 1]
  const int32_t* kv_len = nullptr;       // [rows]
  const int32_t* block_start = nullptr;  // [rows + 1]
  const int32_t* block_id = nullptr;
  int tokens = 0;
  int rows = 0;
  int kv_heads = 0;
  int group = 0;  // query heads of a kv head
  int head_dim = 0;
  int block_tokens = 0;
  float scale = 1;  // > 0

  [[nodiscard]] constexpr int heads() const { return kv_heads * group; }
};

// The two below share a batch: a row belongs to one of them, by how many new tokens it has. bf16
// cache, head_dim 64 or 128, group <= kDecodeQueries, block_tokens a power of two and >= 16, all
// memory on 16 bytes.
inline constexpr int kDecodeQueries = 16;

// Memory-bound: reads every key once for all queries of its kv head. Rows of up to `longest` new
// tokens; longest * group <= kDecodeQueries, or tokens == rows.
void attention_decode(const Stream& on, const AttentionTask& task, int longest);

// The same where tokens == rows and group <= 8, with several blocks for a row's kv head; on sm_90
// alone. False, and nothing done, where the rows are too many for that to pay.
bool attention_clusters(const Stream& on, const AttentionTask& task);

// Compute-bound: tiles of queries. Rows of more than `longest` new tokens.
void attention_prefill(const Stream& on, const AttentionTask& task, int longest);

// Any row, any even head_dim up to 256, any block_tokens, a cache of f32, f16 or bf16. Slow.
void attention_general(const Stream& on, const AttentionTask& task, DType cache);

}  // namespace switchyard::cuda
