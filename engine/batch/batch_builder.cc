// BatchBuilder: a StepPlan laid out as the arrays of a RaggedBatch and of the draw of its tokens.
#include "engine/batch/batch_builder.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"

namespace switchyard {

namespace {

constexpr size_t kAlignment = 64;

constexpr size_t aligned(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

SampleRow greedy_row() {
  SampleRow row;
  row.temperature = 0;
  return row;
}

DrawnParts wanted_by(const SampleRow& row) {
  if (row.top_logprobs > 0) return DrawnParts::kTopLogprobs;
  return row.want_logprob != 0 ? DrawnParts::kLogprobs : DrawnParts::kTokens;
}

}  // namespace

PaddedCounts exact_counts(const StepPlan& plan) {
  const StepCounts counts = counts_of(plan);
  return {.tokens = counts.tokens, .rows = counts.rows, .logits = counts.logits};
}

BatchOffsets::BatchOffsets(const PaddedCounts& counts) {
  size_t next = 0;
  const auto place = [&next](size_t count, size_t each = sizeof(int32_t)) {
    const size_t offset = next;
    next += aligned(count * each, kAlignment);
    return offset;
  };
  const auto tokens = static_cast<size_t>(counts.tokens);
  const auto rows = static_cast<size_t>(counts.rows);
  const auto logits = static_cast<size_t>(counts.logits);
  token = place(tokens);
  position = place(tokens);
  kv_slot = place(tokens);
  row_start = place(rows + 1);
  kv_len = place(rows);
  block_start = place(rows + 1);
  state_slot = place(rows);
  logit_token = place(logits);
  live_tokens = place(1);
  sample_row = place(logits, sizeof(SampleRow));
  tail = next;
}

RaggedBatch HostBatch::on(const void* device_block) const {
  const auto at = [&](size_t offset) {
    return reinterpret_cast<const int32_t*>(static_cast<const std::byte*>(device_block) + offset);
  };
  return {
      .num_tokens = counts.tokens,
      .num_rows = counts.rows,
      .num_logits = counts.logits,
      .token = at(offsets.token),
      .position = at(offsets.position),
      .kv_slot = at(offsets.kv_slot),
      .row_start = at(offsets.row_start),
      .kv_len = at(offsets.kv_len),
      .block_start = at(offsets.block_start),
      .block_id = at(offsets.tail),
      .state_slot = at(offsets.state_slot),
      .logit_token = at(offsets.logit_token),
      .live_tokens = at(offsets.live_tokens),
  };
}

BatchSampling HostBatch::sampling_on(const void* device_block) const {
  const auto* base = static_cast<const std::byte*>(device_block);
  const size_t tail_bytes = static_cast<size_t>(block_bytes) - offsets.tail;
  return {.rows = reinterpret_cast<const SampleRow*>(base + offsets.sample_row),
          .edits = reinterpret_cast<const LogitEdit*>(base + offsets.tail),
          .num_edits = static_cast<int>(tail_bytes / sizeof(LogitEdit))};
}

BatchBuilder::BatchBuilder(const BatchLimits& limits) : limits_(limits), offsets_(PaddedCounts{}) {
  CHECK(limits.max_rows > 0 && limits.max_tokens >= limits.max_rows);
  CHECK(limits.max_blocks_per_row > 0 && limits.block_tokens > 0 && limits.max_edits >= 0);
}

int64_t BatchBuilder::block_bytes() const {
  const BatchOffsets largest(
      {.tokens = limits_.max_tokens, .rows = limits_.max_rows, .logits = limits_.max_rows});
  const size_t ids =
      static_cast<size_t>(limits_.max_rows) * static_cast<size_t>(limits_.max_blocks_per_row);
  return static_cast<int64_t>(largest.tail + aligned(ids * sizeof(int32_t), kAlignment) +
                              static_cast<size_t>(limits_.max_edits) * sizeof(LogitEdit));
}

HostBatch BatchBuilder::build(const StepPlan& plan, const PaddedCounts& counts) {
  const PaddedCounts exact = exact_counts(plan);
  CHECK(counts.tokens <= limits_.max_tokens && counts.rows <= limits_.max_rows);
  CHECK(counts.rows >= exact.rows);
  CHECK(counts.tokens - exact.tokens == counts.rows - exact.rows);
  CHECK(counts.logits >= exact.logits && counts.logits <= counts.rows);
  // A padding logit needs a padding token to point at.
  CHECK(counts.logits == exact.logits || counts.rows > exact.rows);

  offsets_ = BatchOffsets(counts);
  block_.resize(offsets_.tail);
  filled_ = {};
  wanted_ = DrawnParts::kTokens;
  sample_rows_.clear();
  edits_.clear();
  block_ids_.clear();
  *ints(offsets_.row_start) = 0;
  *ints(offsets_.block_start) = 0;
  for (const PlannedRow& row : plan.rows) add_row(row);
  *ints(offsets_.live_tokens) = filled_.tokens;
  while (filled_.logits < counts.logits) add_logit(exact.tokens, greedy_row());
  while (filled_.rows < counts.rows) add_padding_row();
  add_tail();
  return {.block = block_,
          .counts = counts,
          .offsets = offsets_,
          .block_bytes = block_bytes(),
          .wanted = wanted_};
}

// Block ids, edits, and the sample rows, which say where in the tail their edits are.
void BatchBuilder::add_tail() {
  CHECK(edits_.size() <= static_cast<size_t>(limits_.max_edits));
  const size_t id_bytes = block_ids_.size() * sizeof(int32_t);
  const size_t first_edit = aligned(id_bytes, sizeof(LogitEdit)) / sizeof(LogitEdit);
  const size_t edit_bytes = edits_.size() * sizeof(LogitEdit);
  const size_t edits_at = offsets_.tail + first_edit * sizeof(LogitEdit);
  block_.resize(edits_.empty() ? offsets_.tail + id_bytes : edits_at + edit_bytes);
  std::memcpy(block_.data() + offsets_.tail, block_ids_.data(), id_bytes);
  if (!edits_.empty()) std::memcpy(block_.data() + edits_at, edits_.data(), edit_bytes);
  for (SampleRow& row : sample_rows_) {
    row.edit_begin += static_cast<int32_t>(first_edit);
    row.edit_end += static_cast<int32_t>(first_edit);
  }
  if (sample_rows_.empty()) return;
  std::memcpy(block_.data() + offsets_.sample_row, sample_rows_.data(),
              sample_rows_.size() * sizeof(SampleRow));
}

void BatchBuilder::add_row(const PlannedRow& row) {
  const Sequence& sequence = *row.sequence;
  const std::span<const int32_t> known = sequence.tokens();
  const std::span<const BlockId> blocks = sequence.lease().blocks();
  const int length = row.first_token + row.count;
  const int used_blocks = (length + limits_.block_tokens - 1) / limits_.block_tokens;
  CHECK(used_blocks <= limits_.max_blocks_per_row);
  CHECK(static_cast<size_t>(used_blocks) <= blocks.size());
  CHECK(static_cast<size_t>(length) <= known.size() + (row.drawn_in_row >= 0 ? 1 : 0));

  for (int i = row.first_token; i < length; ++i) {
    const auto block = static_cast<int32_t>(blocks[i / limits_.block_tokens]);
    add_token({.token = static_cast<size_t>(i) < known.size() ? known[i] : -1 - row.drawn_in_row,
               .position = i,
               .kv_slot = block * limits_.block_tokens + i % limits_.block_tokens});
  }
  for (int i = 0; i < used_blocks; ++i) block_ids_.push_back(static_cast<int32_t>(blocks[i]));
  close_row(length, static_cast<int32_t>(sequence.lease().state()));

  if (!row.wants_logits) return;
  SampleRow sample_row = sequence.sample_row(length);
  sample_row.edit_begin = static_cast<int32_t>(edits_.size());
  edits_.insert(edits_.end(), sequence.edits().begin(), sequence.edits().end());
  sample_row.edit_end = static_cast<int32_t>(edits_.size());
  add_logit(filled_.tokens - 1, sample_row);
}

void BatchBuilder::add_padding_row() {
  add_token({.token = 0, .position = 0, .kv_slot = 0});
  block_ids_.push_back(static_cast<int32_t>(kSinkBlock));
  close_row(1, static_cast<int32_t>(kSinkSlot));
}

void BatchBuilder::add_token(const BatchToken& token) {
  ints(offsets_.token)[filled_.tokens] = token.token;
  ints(offsets_.position)[filled_.tokens] = token.position;
  ints(offsets_.kv_slot)[filled_.tokens] = token.kv_slot;
  ++filled_.tokens;
}

// The tokens and blocks added since the last row are this row's.
void BatchBuilder::close_row(int kv_len, int32_t state_slot) {
  ints(offsets_.kv_len)[filled_.rows] = kv_len;
  ints(offsets_.state_slot)[filled_.rows] = state_slot;
  ++filled_.rows;
  ints(offsets_.row_start)[filled_.rows] = filled_.tokens;
  ints(offsets_.block_start)[filled_.rows] = static_cast<int32_t>(block_ids_.size());
}

void BatchBuilder::add_logit(int token, const SampleRow& sample_row) {
  ints(offsets_.logit_token)[filled_.logits] = token;
  ++filled_.logits;
  wanted_ = std::max(wanted_, wanted_by(sample_row));
  sample_rows_.push_back(sample_row);
}

}  // namespace switchyard
