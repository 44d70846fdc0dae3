// The cache of one model as its sequences see it: leases on blocks and a state slot.
// Whatever ends a lease gives everything back. Decides nothing about who may have how much.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/memory/block_pool.h"
#include "engine/memory/state_pool.h"

namespace switchyard {

class SequenceMemory;

// One sequence's claim: blocks in the order of its tokens, and one slot of state.
//
//   [ committed ........ | reserved ... ]
//                          given back by rollback(), kept by commit()
//
// Step thread only; its SequenceMemory must outlive it.
class MemoryLease {
 public:
  MemoryLease(MemoryLease&& other) noexcept;
  MemoryLease& operator=(MemoryLease&&) = delete;
  ~MemoryLease();

  // Makes room for the sequence's first `tokens` tokens, tentatively. False: there is not enough,
  // and nothing changed. Asking for less than is held is no change.
  [[nodiscard]] bool reserve(int tokens);
  void commit();
  // Back to what was last committed.
  void rollback();
  // Gives everything back; the lease may grow again.
  void release();

  [[nodiscard]] std::span<const BlockId> blocks() const { return blocks_; }
  [[nodiscard]] StateSlot state() const { return state_.value_or(kSinkSlot); }
  [[nodiscard]] bool holds_state() const { return state_.has_value(); }

 private:
  friend class SequenceMemory;
  explicit MemoryLease(SequenceMemory& memory) : memory_(&memory) {}
  void shrink_to(size_t blocks);

  SequenceMemory* memory_;  // never null
  std::vector<BlockId> blocks_;
  std::optional<StateSlot> state_;
  size_t committed_blocks_ = 0;
  bool state_committed_ = false;
};

struct SequenceMemorySize {
  int blocks = 0;        // the sink included
  int block_tokens = 0;  // > 0
  int state_slots = 0;   // the sink included
};

// Step thread only.
class SequenceMemory {
 public:
  explicit SequenceMemory(SequenceMemorySize size);

  // A claim on nothing yet.
  [[nodiscard]] MemoryLease lease() { return MemoryLease(*this); }

  [[nodiscard]] int block_tokens() const { return block_tokens_; }
  [[nodiscard]] int blocks_for(int tokens) const;
  [[nodiscard]] const BlockPool& blocks() const { return blocks_; }
  [[nodiscard]] const StatePool& states() const { return states_; }

 private:
  friend class MemoryLease;
  int block_tokens_;
  BlockPool blocks_;
  StatePool states_;
};

}  // namespace switchyard
