// The cache of one model as its sequences see it: leases on blocks and a state slot.
// Decides nothing about who may have how much.
#include "engine/memory/sequence_memory.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

MemoryLease::MemoryLease(MemoryLease&& other) noexcept
    : memory_(other.memory_),
      blocks_(std::exchange(other.blocks_, {})),
      state_(std::exchange(other.state_, std::nullopt)),
      committed_blocks_(std::exchange(other.committed_blocks_, 0)),
      state_committed_(std::exchange(other.state_committed_, false)) {}

MemoryLease::~MemoryLease() { release(); }

bool MemoryLease::reserve(int tokens) {
  const auto needed = static_cast<size_t>(memory_->blocks_for(tokens));
  const size_t missing = needed - std::min(needed, blocks_.size());
  const int missing_slots = state_.has_value() ? 0 : 1;
  if (missing > static_cast<size_t>(memory_->blocks_.free())) return false;
  if (missing_slots > memory_->states_.free()) return false;

  blocks_.reserve(needed);
  for (size_t i = 0; i < missing; ++i) blocks_.push_back(memory_->blocks_.take().value());
  if (!state_) state_ = memory_->states_.take();
  return true;
}

void MemoryLease::commit() {
  committed_blocks_ = blocks_.size();
  state_committed_ = state_.has_value();
}

void MemoryLease::rollback() {
  shrink_to(committed_blocks_);
  if (state_ && !state_committed_) {
    memory_->states_.release(*state_);
    state_.reset();
  }
}

void MemoryLease::release() {
  committed_blocks_ = 0;
  state_committed_ = false;
  rollback();
}

void MemoryLease::shrink_to(size_t blocks) {
  while (blocks_.size() > blocks) {
    memory_->blocks_.release(blocks_.back());
    blocks_.pop_back();
  }
}

SequenceMemory::SequenceMemory(SequenceMemorySize size)
    : block_tokens_(size.block_tokens), blocks_(size.blocks), states_(size.state_slots) {
  CHECK(block_tokens_ > 0);
}

int SequenceMemory::blocks_for(int tokens) const {
  CHECK(tokens >= 0);
  return tokens / block_tokens_ + (tokens % block_tokens_ == 0 ? 0 : 1);
}

}  // namespace switchyard
