// Sampler: the device side of drawing tokens. Holds the arrays that the `sample` op reads and
// writes at fixed addresses, and brings its results to the host.
// Not here: what a row asks for (request/sequence.h), the arithmetic (kernels/backend.h).
#pragma once

#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/schedule/scheduler.h"
#include "kernels/backend.h"

namespace switchyard {

struct SamplerLimits {
  int max_rows = 0;       // L at most
  int64_t max_edits = 0;  // over all rows
};

// Step thread only.
class Sampler {
 public:
  // `backend` must outlive it. resource_exhausted: not enough device memory.
  static Result<Sampler> create(Backend& backend, const SamplerLimits& limits);

  // Enqueues the draw of one token per row. `logits` is [rows, V] f32 and is used up.
  void launch(const Tensor& logits,
              std::span<const SampleRow> rows,
              std::span<const LogitEdit> edits);

  // Waits for the launched draw. Views hold until the next launch.
  StepTokens collect();

  // Device array of the tokens drawn last, by row: what a batch token of -1-r stands for.
  [[nodiscard]] const int32_t* tokens() const { return static_cast<int32_t*>(token_.data()); }

 private:
  explicit Sampler(Backend& backend) : backend_(&backend) {}

  Backend* backend_;
  Buffer rows_, edits_, token_, logprob_, top_token_, top_logprob_;
  int launched_rows_ = 0;
  std::vector<int32_t> host_token_, host_top_token_;
  std::vector<float> host_logprob_, host_top_logprob_;
};

}  // namespace switchyard
