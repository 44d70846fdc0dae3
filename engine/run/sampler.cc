#include "engine/run/sampler.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

constexpr int64_t kEntryBytes = 4;  // of every part
constexpr int64_t kPartAlignment = 64;

int64_t part_bytes(int64_t entries) {
  return (entries * kEntryBytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

template <typename T>
std::span<const T> entries_at(std::span<const std::byte> bytes, int64_t offset, size_t count) {
  CHECK(bytes.size() >= static_cast<size_t>(offset) + count * sizeof(T));
  return {reinterpret_cast<const T*>(bytes.data() + offset), count};
}

}  // namespace

Sampler::Offsets::Offsets(int64_t max_rows)
    : logprob(part_bytes(max_rows)),
      top_token(logprob + part_bytes(max_rows)),
      top_logprob(top_token + part_bytes(max_rows * kMaxTopLogprobs)),
      end(top_logprob + part_bytes(max_rows * kMaxTopLogprobs)) {}

Result<Sampler> Sampler::create(Backend& backend, int max_rows) {
  CHECK(max_rows > 0);
  Sampler sampler(backend, max_rows);
  sampler.drawn_ = backend.allocate(sampler.offsets_.end);
  bool is_there = !sampler.drawn_.empty();
  for (Brought& brought : sampler.brought_) {
    brought.readback = backend.make_readback(sampler.offsets_.end);
    is_there &= brought.readback != nullptr;
  }
  if (!is_there) {
    return Status(Code::kResourceExhausted, "no memory for sampling ", max_rows,
                  " rows: ", sampler.offsets_.end, " bytes");
  }
  return sampler;
}

void Sampler::draw(const Tensor& logits, const BatchSampling& sampling) {
  const int64_t rows = logits.dim(0);
  if (rows == 0) return;  // a step of prompt chunks only
  Tensor top_token = part(offsets_.top_token, DType::kI32, rows * kMaxTopLogprobs);
  Tensor top_logprob = part(offsets_.top_logprob, DType::kF32, rows * kMaxTopLogprobs);
  backend_->sample({
      .logits = logits,
      .rows = sampling.rows,
      .edits = sampling.edits,
      .num_edits = sampling.num_edits,
      .token = part(0, DType::kI32, rows),
      .logprob = part(offsets_.logprob, DType::kF32, rows),
      .top_token = Tensor(top_token.data, DType::kI32, {rows, kMaxTopLogprobs}),
      .top_logprob = Tensor(top_logprob.data, DType::kF32, {rows, kMaxTopLogprobs}),
  });
}

Tensor Sampler::part(int64_t offset, DType type, int64_t entries) const {
  CHECK(offset + entries * kEntryBytes <= drawn_.bytes());
  return Tensor(static_cast<std::byte*>(drawn_.data()) + offset, type, {entries});
}

int64_t Sampler::bytes_of_parts(int rows, DrawnParts parts) const {
  switch (parts) {
    case DrawnParts::kTokens:
      return rows * kEntryBytes;
    case DrawnParts::kLogprobs:
      return offsets_.logprob + rows * kEntryBytes;
    case DrawnParts::kTopLogprobs:
      return offsets_.top_logprob + rows * kMaxTopLogprobs * kEntryBytes;
  }
  CHECK(false);
}

void Sampler::bring(int rows, DrawnParts parts) {
  CHECK(steps_brought_ - steps_collected_ < brought_.size());
  Brought& step = brought_[steps_brought_++ % brought_.size()];
  step.rows = rows;
  step.parts = parts;
  // Of no rows one is brought all the same: waiting for it is waiting for the step.
  step.readback->start(drawn_.data(), bytes_of_parts(std::max(rows, 1), parts));
}

StepTokens Sampler::collect() {
  CHECK(steps_brought_ > steps_collected_);
  const Brought& step = brought_[steps_collected_++ % brought_.size()];
  const std::span<const std::byte> bytes = step.readback->wait();
  const auto rows = static_cast<size_t>(step.rows);
  StepTokens tokens{.token = entries_at<int32_t>(bytes, 0, rows),
                    .logprob = {},
                    .top_token = {},
                    .top_logprob = {}};
  if (step.parts >= DrawnParts::kLogprobs) {
    tokens.logprob = entries_at<float>(bytes, offsets_.logprob, rows);
  }
  if (step.parts >= DrawnParts::kTopLogprobs) {
    tokens.top_count = kMaxTopLogprobs;
    tokens.top_token = entries_at<int32_t>(bytes, offsets_.top_token, rows * kMaxTopLogprobs);
    tokens.top_logprob = entries_at<float>(bytes, offsets_.top_logprob, rows * kMaxTopLogprobs);
  }
  return tokens;
}

}  // namespace switchyard
