// Hands out slots of recurrent state by id; a slot has one user.
// Knows nothing about sequences or shapes.
#include "engine/memory/state_pool.h"

#include "kernels/base/check.h"

namespace switchyard {

StatePool::StatePool(int slots) {
  CHECK(slots >= 1);
  taken_.assign(slots, false);
  free_.reserve(slots);
  for (int slot = slots - 1; slot > 0; --slot) free_.push_back(StateSlot{slot});
}

std::optional<StateSlot> StatePool::take() {
  if (free_.empty()) return std::nullopt;
  const StateSlot slot = free_.back();
  free_.pop_back();
  taken_[static_cast<int32_t>(slot)] = true;
  return slot;
}

void StatePool::release(StateSlot slot) {
  const auto index = static_cast<int32_t>(slot);
  CHECK(index >= 0 && static_cast<size_t>(index) < taken_.size() && taken_[index]);
  taken_[index] = false;
  free_.push_back(slot);
}

}  // namespace switchyard
