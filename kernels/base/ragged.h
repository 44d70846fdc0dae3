// RaggedBatch: what one step computes, as rows with lengths. No prefill, no decode.
// All arrays are device memory at fixed addresses; only the counts are host integers, and a
// captured graph freezes them (then padding fills the arrays up to the frozen counts).
#pragma once

#include <cstdint>

namespace switchyard {

struct RaggedBatch {
  int num_tokens = 0;  // T
  int num_rows = 0;    // R
  int num_logits = 0;  // L

  const int32_t* token = nullptr;      // [T]   id, or -1-r: the token that logit row r sampled last
  const int32_t* position = nullptr;   // [T]   rotary position; a row starting at 0 has no past
  const int32_t* kv_slot = nullptr;    // [T]   block * block_tokens + offset: where K and V go
  const int32_t* row_start = nullptr;  // [R+1] into the tokens
  const int32_t* kv_len = nullptr;     // [R]   keys after this step, the new tokens included
  const int32_t* block_start = nullptr;  // [R+1] into block_id
  const int32_t* block_id = nullptr;     // [...] the row's KV blocks in order
  const int32_t* state_slot = nullptr;   // [R]   recurrent state; 0 = sink
  const int32_t* logit_token = nullptr;  // [L]   tokens whose next token is wanted
  const int32_t* live_tokens = nullptr;  // [1]   tokens that are not padding
};

}  // namespace switchyard
