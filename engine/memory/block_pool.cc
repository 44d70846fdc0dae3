// Hands out fixed-size cache blocks by id and counts their users.
// Knows nothing about sequences, layers, or what a block contains.
#include "engine/memory/block_pool.h"

#include "kernels/base/check.h"

namespace switchyard {

BlockPool::BlockPool(int blocks) {
  CHECK(blocks >= 1);
  users_.assign(blocks, 0);
  free_.reserve(blocks);
  for (int id = blocks - 1; id > 0; --id) free_.push_back(BlockId{id});
}

std::optional<BlockId> BlockPool::take() {
  if (free_.empty()) return std::nullopt;
  const BlockId id = free_.back();
  free_.pop_back();
  users_of(id) = 1;
  return id;
}

void BlockPool::share(BlockId id) {
  CHECK(users(id) > 0);
  ++users_of(id);
}

void BlockPool::release(BlockId id) {
  CHECK(users(id) > 0);
  if (--users_of(id) == 0) free_.push_back(id);
}

int BlockPool::users(BlockId id) const {
  const auto index = static_cast<int32_t>(id);
  CHECK(index >= 0 && static_cast<size_t>(index) < users_.size());
  return users_[index];
}

int32_t& BlockPool::users_of(BlockId id) { return users_[static_cast<int32_t>(id)]; }

}  // namespace switchyard
