// What a model's sequences keep between steps, in shapes and bytes: KV blocks of its attention
// layers and one slot of recurrent state. Says how much fits a budget; allocates nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/base/tensor.h"

namespace switchyard {

// The attention layers of one shape. They share a block table: block b of every layer belongs to
// the same tokens of the same sequence.
struct KvGroup {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int block_tokens = 64;
  DType type = DType::kBf16;

  // K or V of one layer: [blocks, kv_heads, block_tokens, head_dim].
  [[nodiscard]] int64_t bytes_per_block_and_layer() const {
    return int64_t{kv_heads} * block_tokens * head_dim * bytes_of(type);
  }
  // K and V of all layers.
  [[nodiscard]] int64_t bytes_per_block() const { return 2 * layers * bytes_per_block_and_layer(); }
};

// What one recurrent layer keeps of one sequence: [columns, channels] f32.
struct RecurrentState {
  int columns = 0;
  int channels = 0;

  [[nodiscard]] int64_t bytes() const {
    return int64_t{columns} * channels * bytes_of(DType::kF32);
  }
};

struct CacheLayout {
  KvGroup kv;
  std::vector<RecurrentState> states;  // by recurrent layer, in model order

  [[nodiscard]] int64_t bytes_per_slot() const {
    int64_t bytes = 0;
    for (const RecurrentState& state : states) bytes += state.bytes();
    return bytes;
  }
  // Blocks that hold `tokens` tokens of one sequence.
  [[nodiscard]] int blocks_for(int64_t tokens) const {
    return static_cast<int>((tokens + kv.block_tokens - 1) / kv.block_tokens);
  }
  // Whole blocks in a budget, the sink included; as many as can be numbered when the model has no
  // attention layer and blocks cost nothing.
  [[nodiscard]] int blocks_in(int64_t budget_bytes) const {
    constexpr int64_t kMostBlocks = std::numeric_limits<int32_t>::max();
    const int64_t each = kv.bytes_per_block();
    const int64_t fitting = each == 0 ? kMostBlocks : std::max<int64_t>(budget_bytes, 0) / each;
    // kv_slot = block * block_tokens + offset is an i32.
    return static_cast<int>(std::min(fitting, kMostBlocks / kv.block_tokens));
  }
};

}  // namespace switchyard
