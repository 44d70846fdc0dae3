// Caches: the cache tensors of every layer, as views of two regions of device memory that the
// caller owns: the blocks of keys and values, and the slots of recurrent state.
// Knows no sequences: who may use which block or slot is memory/'s affair.
#pragma once

#include <vector>

#include "engine/memory/cache_layout.h"
#include "kernels/backend.h"

namespace switchyard {

struct CacheMemory {
  void* kv = nullptr;     // blocks * layout.kv.bytes_per_block()
  int blocks = 0;         // the sink included
  void* state = nullptr;  // state_slots * layout.bytes_per_slot()
  int state_slots = 0;    // the sink included
};

// Const after construction.
class Caches {
 public:
  // The memory must outlive it.
  Caches(const CacheLayout& layout, const CacheMemory& memory);

  // Of the n-th attention layer: key and value [blocks, kv_heads, block_tokens, head_dim].
  [[nodiscard]] const KvCache& kv(int attention_layer) const;
  // Of the n-th recurrent layer: [state_slots, columns, channels] f32.
  [[nodiscard]] const Tensor& state(int recurrent_layer) const;

 private:
  std::vector<KvCache> kv_;
  std::vector<Tensor> states_;
};

}  // namespace switchyard
