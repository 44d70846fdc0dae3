// Sampler: the device side of drawing tokens. Holds the arrays that the `sample` op writes at fixed
// addresses, and brings them to the host, up to two steps at a time and of each only what is
// wanted. Not here: what a row asks for (request/sequence.h), the arithmetic (kernels/backend.h).
//
// There is one array of drawn tokens. The next step reads it when it embeds (a batch token of -1-r)
// and writes it when it draws, which comes later in the order of the backend.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "engine/base/result.h"
#include "engine/batch/batch_builder.h"
#include "engine/schedule/scheduler.h"
#include "kernels/backend.h"

namespace switchyard {

// Step thread only.
class Sampler {
 public:
  // For up to `max_rows` logit rows. `backend` must outlive it. resource_exhausted: not enough
  // memory.
  static Result<Sampler> create(Backend& backend, int max_rows);

  // Enqueues the draw of one token per row of `logits`, [L, V] f32, which are used up. What it
  // enqueues is the same for the same addresses and L, so it can be part of a graph.
  void draw(const Tensor& logits, const BatchSampling& sampling);

  // Enqueues bringing the first `rows` results to the host, behind the draw. At most
  // kMostStepsInFlight times more than collect.
  void bring(int rows, DrawnParts parts);

  // Waits for what was brought first; for that of a step that drew nothing too. Views hold until
  // the second bring from now. Parts that were not wanted are empty.
  StepTokens collect();

  // Device array of the tokens drawn last, by row: what a batch token of -1-r stands for.
  [[nodiscard]] const int32_t* tokens() const { return static_cast<int32_t*>(drawn_.data()); }

 private:
  // Where the parts are in the device memory of what is drawn, in bytes: a part begins at its
  // offset for the largest number of rows.
  struct Offsets {
    explicit Offsets(int64_t max_rows);
    int64_t logprob, top_token, top_logprob, end;
  };
  struct Brought {
    std::unique_ptr<Readback> readback;
    int rows = 0;
    DrawnParts parts = DrawnParts::kTokens;
  };

  Sampler(Backend& backend, int max_rows) : backend_(&backend), offsets_(max_rows) {}
  [[nodiscard]] Tensor part(int64_t offset, DType type, int64_t entries) const;
  [[nodiscard]] int64_t bytes_of_parts(int rows, DrawnParts parts) const;

  Backend* backend_;
  Offsets offsets_;
  Buffer drawn_;
  std::array<Brought, kMostStepsInFlight> brought_;  // step s at s % size
  uint64_t steps_brought_ = 0;
  uint64_t steps_collected_ = 0;
};

}  // namespace switchyard
