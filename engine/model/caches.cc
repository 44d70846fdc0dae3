#include "engine/model/caches.h"

#include <cstddef>

namespace switchyard {
namespace {

// Cuts tensors off the front of a region, one after the other.
class Cutter {
 public:
  explicit Cutter(void* region) : next_(static_cast<std::byte*>(region)) {}

  Tensor cut(DType type, std::initializer_list<int64_t> shape) {
    const Tensor tensor(next_, type, shape);
    next_ += tensor.bytes();
    return tensor;
  }

 private:
  std::byte* next_;
};

}  // namespace

Caches::Caches(const CacheLayout& layout, const CacheMemory& memory) {
  const KvGroup& group = layout.kv;
  Cutter kv(memory.kv);
  for (int i = 0; i < group.layers; ++i) {
    const std::initializer_list<int64_t> shape = {memory.blocks, group.kv_heads, group.block_tokens,
                                                  group.head_dim};
    const Tensor key = kv.cut(group.type, shape);
    const Tensor value = kv.cut(group.type, shape);
    kv_.push_back({.key = key, .value = value});
  }
  Cutter states(memory.state);
  for (const RecurrentState& state : layout.states) {
    states_.push_back(states.cut(DType::kF32, {memory.state_slots, state.columns, state.channels}));
  }
}

const KvCache& Caches::kv(int attention_layer) const {
  CHECK(attention_layer >= 0 && attention_layer < static_cast<int>(kv_.size()));
  return kv_[static_cast<size_t>(attention_layer)];
}

const Tensor& Caches::state(int recurrent_layer) const {
  CHECK(recurrent_layer >= 0 && recurrent_layer < static_cast<int>(states_.size()));
  return states_[static_cast<size_t>(recurrent_layer)];
}

}  // namespace switchyard
