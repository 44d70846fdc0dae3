#include "engine/run/sampler.h"

#include <array>
#include <utility>

namespace switchyard {

Result<Sampler> Sampler::create(Backend& backend, const SamplerLimits& limits) {
  Sampler sampler(backend);
  const int64_t rows = limits.max_rows;
  const std::array<std::pair<Buffer*, int64_t>, 6> wanted = {{
      {&sampler.rows_, rows * int64_t{sizeof(SampleRow)}},
      {&sampler.edits_, limits.max_edits * int64_t{sizeof(LogitEdit)}},
      {&sampler.token_, rows * 4},
      {&sampler.logprob_, rows * 4},
      {&sampler.top_token_, rows * kMaxTopLogprobs * 4},
      {&sampler.top_logprob_, rows * kMaxTopLogprobs * 4},
  }};
  for (const auto& [buffer, bytes] : wanted) {
    *buffer = backend.allocate(bytes);
    if (buffer->empty()) {
      return Status(Code::kResourceExhausted, "no memory for sampling ", limits.max_rows,
                    " rows: ", bytes, " bytes");
    }
  }
  return sampler;
}

void Sampler::launch(const Tensor& logits,
                     std::span<const SampleRow> rows,
                     std::span<const LogitEdit> edits) {
  const auto count = static_cast<int64_t>(rows.size());
  launched_rows_ = static_cast<int>(count);
  if (count == 0) return;  // a step of prompt chunks only
  CHECK(static_cast<int64_t>(edits.size_bytes()) <= edits_.bytes());
  backend_->upload(rows_.data(), rows.data(), static_cast<int64_t>(rows.size_bytes()));
  if (!edits.empty()) {
    backend_->upload(edits_.data(), edits.data(), static_cast<int64_t>(edits.size_bytes()));
  }
  backend_->sample({
      .logits = logits,
      .rows = static_cast<const SampleRow*>(rows_.data()),
      .edits = static_cast<const LogitEdit*>(edits_.data()),
      .num_edits = static_cast<int>(edits.size()),
      .token = Tensor(token_.data(), DType::kI32, {count}),
      .logprob = Tensor(logprob_.data(), DType::kF32, {count}),
      .top_token = Tensor(top_token_.data(), DType::kI32, {count, kMaxTopLogprobs}),
      .top_logprob = Tensor(top_logprob_.data(), DType::kF32, {count, kMaxTopLogprobs}),
  });
}

StepTokens Sampler::collect() {
  const auto rows = static_cast<size_t>(launched_rows_);
  const auto bring = [&](auto& host, const Buffer& device, size_t count) {
    host.resize(count);
    backend_->download(host.data(), device.data(), static_cast<int64_t>(count) * 4);
  };
  backend_->synchronize();
  bring(host_token_, token_, rows);
  bring(host_logprob_, logprob_, rows);
  bring(host_top_token_, top_token_, rows * kMaxTopLogprobs);
  bring(host_top_logprob_, top_logprob_, rows * kMaxTopLogprobs);
  return {.token = host_token_,
          .logprob = host_logprob_,
          .top_token = host_top_token_,
          .top_logprob = host_top_logprob_,
          .top_count = kMaxTopLogprobs};
}

}  // namespace switchyard
