// BatchBuilder: a StepPlan laid out as the arrays of a RaggedBatch and of the draw of its tokens,
// in one host block, so that one upload per step fills the device's. Offsets depend on the counts
// alone: steps of the same counts have their arrays at the same addresses, and a small step has a
// small block. Pure host code: plans nothing, uploads nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/schedule/step_plan.h"
#include "kernels/backend.h"
#include "kernels/base/ragged.h"

namespace switchyard {

// The largest batch that fits the block.
struct BatchLimits {
  int max_tokens = 0;
  int max_rows = 0;  // also the most logits
  int max_blocks_per_row = 0;
  int block_tokens = 0;
  int max_edits = 0;  // over all rows
};

// What the kernels are launched for. Padding rows have one token each, so as many tokens as rows
// are padded. Padding logits point at the first padding token.
struct PaddedCounts {
  int tokens = 0;
  int rows = 0;
  int logits = 0;
};

// Without padding.
[[nodiscard]] PaddedCounts exact_counts(const StepPlan& plan);

// Offsets of the arrays in the block, in bytes. What the counts do not tell the length of is last
// and shares a tail: first the block ids that the step has, then its edits, which are counted from
// the start of the tail.
struct BatchOffsets {
  explicit BatchOffsets(const PaddedCounts& counts);
  size_t token, position, kv_slot, row_start, kv_len, block_start, state_slot, logit_token,
      live_tokens, sample_row, tail;
};

// How the tokens of a batch are drawn: the inputs of SampleArgs. Padding rows are greedy.
struct BatchSampling {
  const SampleRow* rows = nullptr;   // [L]
  const LogitEdit* edits = nullptr;  // SampleRow::edit_begin and edit_end count from here
  int num_edits = 0;                 // places for edits, by the counts alone
};

// What of the drawn is wanted on the host: each includes those before it.
enum class DrawnParts : uint8_t { kTokens, kLogprobs, kTopLogprobs };

// One step's batch on the host; a view of its builder, good until the next build. Rows are the
// plan's rows in order; logit l is the l-th of them that wants logits; then comes padding.
struct HostBatch {
  std::span<const std::byte> block;  // upload to the start of the device block
  PaddedCounts counts;
  BatchOffsets offsets;
  int64_t block_bytes = 0;                  // of the device block
  DrawnParts wanted = DrawnParts::kTokens;  // by the row that wants most

  // The same batch with its arrays inside the device block.
  [[nodiscard]] RaggedBatch on(const void* device_block) const;
  [[nodiscard]] BatchSampling sampling_on(const void* device_block) const;
};

// Step thread only.
class BatchBuilder {
 public:
  explicit BatchBuilder(const BatchLimits& limits);

  // Bytes of the largest block; 64-byte alignment of the device block is kept for each array.
  [[nodiscard]] int64_t block_bytes() const;

  // After commit: every row's blocks are leased.
  [[nodiscard]] HostBatch build(const StepPlan& plan, const PaddedCounts& counts);

 private:
  struct BatchToken {
    int32_t token = 0;
    int32_t position = 0;
    int32_t kv_slot = 0;
  };

  void add_row(const PlannedRow& row);
  void add_padding_row();
  void add_token(const BatchToken& token);
  void close_row(int kv_len, int32_t state_slot);
  void add_logit(int token, const SampleRow& sample_row);
  void add_tail();
  int32_t* ints(size_t offset) { return reinterpret_cast<int32_t*>(block_.data() + offset); }

  BatchLimits limits_;
  // Of the build in progress.
  BatchOffsets offsets_;
  std::vector<std::byte> block_;
  std::vector<SampleRow> sample_rows_;
  std::vector<LogitEdit> edits_;
  std::vector<int32_t> block_ids_;
  PaddedCounts filled_;
  DrawnParts wanted_ = DrawnParts::kTokens;
};

}  // namespace switchyard
