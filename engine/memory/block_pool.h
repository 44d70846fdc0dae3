// Hands out fixed-size cache blocks by id and counts their users.
// Knows nothing about sequences, layers, or what a block contains.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace switchyard {

enum class BlockId : int32_t {};

// Written by padding rows, read by nobody, never handed out.
inline constexpr BlockId kSinkBlock{0};

// Step thread only. Every operation is O(1).
class BlockPool {
 public:
  // Ids 0 .. blocks-1, of which 0 is the sink. blocks >= 1.
  explicit BlockPool(int blocks);

  // A block with one user, or nothing when all are taken.
  [[nodiscard]] std::optional<BlockId> take();
  // One more user of a block that has some.
  void share(BlockId id);
  // One user less; the last one frees the block.
  void release(BlockId id);

  [[nodiscard]] int users(BlockId id) const;
  [[nodiscard]] int total() const { return static_cast<int>(users_.size()) - 1; }  // not the sink
  [[nodiscard]] int free() const { return static_cast<int>(free_.size()); }

 private:
  [[nodiscard]] int32_t& users_of(BlockId id);

  std::vector<int32_t> users_;  // by id; 0: free (or the sink)
  std::vector<BlockId> free_;   // last in, first out: warm memory first
};

}  // namespace switchyard
