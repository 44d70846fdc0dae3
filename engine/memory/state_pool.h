// Hands out slots of recurrent state by id; a slot has one user.
// Knows nothing about sequences or shapes. A slot comes with its last user's contents: a row that
// starts at position 0 has no past whatever the slot holds.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace switchyard {

enum class StateSlot : int32_t {};

// Written by padding rows and by sequences without state, never handed out.
inline constexpr StateSlot kSinkSlot{0};

// Step thread only. Every operation is O(1).
class StatePool {
 public:
  // Ids 0 .. slots-1, of which 0 is the sink. slots >= 1.
  explicit StatePool(int slots);

  // Nothing when all are taken.
  [[nodiscard]] std::optional<StateSlot> take();
  void release(StateSlot slot);

  [[nodiscard]] int total() const { return static_cast<int>(taken_.size()) - 1; }  // not the sink
  [[nodiscard]] int free() const { return static_cast<int>(free_.size()); }

 private:
  std::vector<bool> taken_;      // by id
  std::vector<StateSlot> free_;  // last in, first out
};

}  // namespace switchyard
