// BatchBuilder: a StepPlan laid out as the arrays of a RaggedBatch, in one host block.
#include "engine/batch/batch_builder.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace switchyard {

namespace {

constexpr size_t kAlignedInts = 16;  // 64 bytes

SampleRow greedy_row() {
  SampleRow row;
  row.temperature = 0;
  return row;
}

}  // namespace

PaddedCounts exact_counts(const StepPlan& plan) {
  const StepCounts counts = counts_of(plan);
  return {.tokens = counts.tokens, .rows = counts.rows, .logits = counts.logits};
}

BatchOffsets::BatchOffsets(const BatchLimits& limits) {
  size_t next = 0;
  const auto place = [&next](size_t count) {
    const size_t offset = next;
    next += (count + kAlignedInts - 1) / kAlignedInts * kAlignedInts;
    return offset;
  };
  const auto tokens = static_cast<size_t>(limits.max_tokens);
  const auto rows = static_cast<size_t>(limits.max_rows);
  token = place(tokens);
  position = place(tokens);
  kv_slot = place(tokens);
  row_start = place(rows + 1);
  kv_len = place(rows);
  block_start = place(rows + 1);
  state_slot = place(rows);
  logit_token = place(rows);
  live_tokens = place(1);
  block_id = place(rows * static_cast<size_t>(limits.max_blocks_per_row));
  end = next;
}

RaggedBatch HostBatch::on(const void* device_block) const {
  const auto* base = static_cast<const int32_t*>(device_block);
  return {
      .num_tokens = counts.tokens,
      .num_rows = counts.rows,
      .num_logits = counts.logits,
      .token = base + offsets.token,
      .position = base + offsets.position,
      .kv_slot = base + offsets.kv_slot,
      .row_start = base + offsets.row_start,
      .kv_len = base + offsets.kv_len,
      .block_start = base + offsets.block_start,
      .block_id = base + offsets.block_id,
      .state_slot = base + offsets.state_slot,
      .logit_token = base + offsets.logit_token,
      .live_tokens = base + offsets.live_tokens,
  };
}

BatchBuilder::BatchBuilder(const BatchLimits& limits)
    : limits_(limits), offsets_(limits), block_(offsets_.end, 0) {
  CHECK(limits.max_rows > 0 && limits.max_tokens >= limits.max_rows);
  CHECK(limits.max_blocks_per_row > 0 && limits.block_tokens > 0);
}

int64_t BatchBuilder::block_bytes() const {
  return static_cast<int64_t>(offsets_.end * sizeof(int32_t));
}

HostBatch BatchBuilder::build(const StepPlan& plan, const PaddedCounts& counts) {
  const PaddedCounts exact = exact_counts(plan);
  CHECK(counts.tokens <= limits_.max_tokens && counts.rows <= limits_.max_rows);
  CHECK(counts.rows >= exact.rows);
  CHECK(counts.tokens - exact.tokens == counts.rows - exact.rows);
  CHECK(counts.logits >= exact.logits && counts.logits <= counts.rows);
  // A padding logit needs a padding token to point at.
  CHECK(counts.logits == exact.logits || counts.rows > exact.rows);

  filled_ = {};
  filled_blocks_ = 0;
  sample_rows_.clear();
  edits_.clear();
  block_[offsets_.row_start] = 0;
  block_[offsets_.block_start] = 0;
  for (const PlannedRow& row : plan.rows) add_row(row);
  block_[offsets_.live_tokens] = filled_.tokens;
  while (filled_.logits < counts.logits) add_logit(exact.tokens, greedy_row());
  while (filled_.rows < counts.rows) add_padding_row();

  const size_t used_ints = offsets_.block_id + static_cast<size_t>(filled_blocks_);
  return {.block = std::as_bytes(std::span(block_).first(used_ints)),
          .counts = counts,
          .offsets = offsets_,
          .sample_rows = sample_rows_,
          .edits = edits_};
}

void BatchBuilder::add_row(const PlannedRow& row) {
  const Sequence& sequence = *row.sequence;
  const std::span<const BlockId> blocks = sequence.lease().blocks();
  const int length = row.first_token + row.count;
  const int used_blocks = (length + limits_.block_tokens - 1) / limits_.block_tokens;
  CHECK(used_blocks <= limits_.max_blocks_per_row);
  CHECK(static_cast<size_t>(used_blocks) <= blocks.size());
  CHECK(static_cast<size_t>(length) <= sequence.tokens().size());

  for (int i = row.first_token; i < length; ++i) {
    const auto block = static_cast<int32_t>(blocks[i / limits_.block_tokens]);
    add_token({.token = sequence.tokens()[i],
               .position = i,
               .kv_slot = block * limits_.block_tokens + i % limits_.block_tokens});
  }
  for (int i = 0; i < used_blocks; ++i) {
    block_[offsets_.block_id + filled_blocks_++] = static_cast<int32_t>(blocks[i]);
  }
  close_row(length, static_cast<int32_t>(sequence.lease().state()));

  if (!row.wants_logits) return;
  SampleRow sample_row = sequence.sample_row();
  sample_row.edit_begin = static_cast<int32_t>(edits_.size());
  edits_.insert(edits_.end(), sequence.edits().begin(), sequence.edits().end());
  sample_row.edit_end = static_cast<int32_t>(edits_.size());
  add_logit(filled_.tokens - 1, sample_row);
}

void BatchBuilder::add_padding_row() {
  add_token({.token = 0, .position = 0, .kv_slot = 0});
  block_[offsets_.block_id + filled_blocks_++] = static_cast<int32_t>(kSinkBlock);
  close_row(1, static_cast<int32_t>(kSinkSlot));
}

void BatchBuilder::add_token(const BatchToken& token) {
  block_[offsets_.token + filled_.tokens] = token.token;
  block_[offsets_.position + filled_.tokens] = token.position;
  block_[offsets_.kv_slot + filled_.tokens] = token.kv_slot;
  ++filled_.tokens;
}

// The tokens and blocks added since the last row are this row's.
void BatchBuilder::close_row(int kv_len, int32_t state_slot) {
  block_[offsets_.kv_len + filled_.rows] = kv_len;
  block_[offsets_.state_slot + filled_.rows] = state_slot;
  ++filled_.rows;
  block_[offsets_.row_start + filled_.rows] = filled_.tokens;
  block_[offsets_.block_start + filled_.rows] = filled_blocks_;
}

void BatchBuilder::add_logit(int token, const SampleRow& sample_row) {
  block_[offsets_.logit_token + filled_.logits] = token;
  ++filled_.logits;
  sample_rows_.push_back(sample_row);
}

}  // namespace switchyard
