// GatedMlp: the dense feed-forward, down(silu(gate x) * (up x)), in two ops.
#pragma once

#include "engine/base/result.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/model/norm.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

class GatedMlp {
 public:
  static Result<GatedMlp> load(const GatedMlpSpec& spec,
                               const Norm& norm,
                               int hidden_size,
                               WeightStore& store);

  // hidden += mlp(norm(hidden));  hidden [T, H]
  void forward(const ModelStep& step, const Tensor& hidden) const;

  // The intermediate tensors of a step.
  struct Work {
    Tensor normed;  // [T, H]
    Tensor gated;   // [T, F]
  };
  [[nodiscard]] Work take_work(Scratch& scratch, const StepShape& shape) const;

 private:
  explicit GatedMlp(const Norm& norm) : norm_(norm) {}

  Norm norm_;
  Weight gate_, up_;  // [F, H]
  Weight down_;       // [H, F]
};

}  // namespace switchyard
