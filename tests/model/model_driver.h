// Runs steps of a model by hand: rows of named sequences, each with its own scattered blocks and
// its own state slot. No scheduler, no pools, no sampling: the ragged batch is written out here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/model/model.h"
#include "kernels/backend.h"

namespace switchyard {

// New tokens of one sequence, and of how many of the last ones the logits are wanted.
struct DriverRow {
  int sequence = 0;
  std::vector<int32_t> tokens;
  int logits = 1;
};

struct DriverLimits {
  int sequences = 8;
  int sequence_tokens = 1100;
  int block_tokens = 16;
  DType kv_type = DType::kF32;
};

class ModelDriver {
 public:
  using Logits = std::vector<std::vector<float>>;  // per wanted token, [vocab]
  using Experts = std::vector<std::vector<int>>;   // per token, sorted

  // Both must outlive it.
  ModelDriver(const Model& model, Backend& backend, const DriverLimits& limits = {});

  // Forgets a sequence: its next row starts at position 0, in the same dirty memory.
  void restart(int sequence) { length_.at(static_cast<size_t>(sequence)) = 0; }

  // Computes the rows; their sequences grow by them.
  Logits step(const std::vector<DriverRow>& rows);

  // The ops of a step of these rows, not run: nothing grows.
  std::unique_ptr<Graph> capture(const std::vector<DriverRow>& rows);
  // The same as step() by a graph captured from rows of the same lengths.
  Logits replay(Graph& graph, const std::vector<DriverRow>& rows);

  // What the last eager step's router chose, by layer.
  [[nodiscard]] const std::map<int, Experts>& experts() const { return experts_; }
  // Scratch that all steps until now took at most.
  [[nodiscard]] int64_t scratch_peak_bytes() const { return scratch_.peak_bytes(); }

 private:
  void prepare(const std::vector<DriverRow>& rows);
  void forward();
  void grow(const std::vector<DriverRow>& rows);
  Logits logits();
  const int32_t* place(const std::vector<int32_t>& values, Buffer& buffer);
  [[nodiscard]] int32_t block_of(int sequence, int position) const;

  const Model& model_;
  Backend& backend_;
  const DriverLimits limits_;
  const int blocks_per_sequence_;
  const int max_tokens_;
  std::vector<Buffer> arrays_;  // at fixed addresses, so that graphs can be replayed
  Buffer kv_, state_, scratch_memory_, logits_;
  Caches caches_;
  Scratch scratch_;
  RaggedBatch batch_;
  std::vector<int> length_;  // by sequence
  std::map<int, Experts> experts_;
};

}  // namespace switchyard
