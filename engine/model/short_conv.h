// ShortConv: LFM2's gated short convolution mixer, in two ops.
#pragma once

#include "engine/base/result.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/model/norm.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

class ShortConv {
 public:
  struct Place {
    int hidden_size = 0;  // H
    int cache = 0;        // index into Caches::state()
  };
  static Result<ShortConv> load(const ShortConvSpec& spec,
                                const Norm& norm,
                                const Place& place,
                                WeightStore& store);

  // hidden += out_proj(conv(norm(hidden)));  hidden [T, H]
  void forward(const ModelStep& step, const Tensor& hidden) const;

  // The intermediate tensors of a step.
  struct Work {
    Tensor normed;     // [T, H]
    Tensor projected;  // [T, 3H]
    Tensor mixed;      // [T, H]
  };
  [[nodiscard]] Work take_work(Scratch& scratch, const StepShape& shape) const;

 private:
  ShortConv(const Norm& norm, const Place& place) : norm_(norm), place_(place) {}

  Norm norm_;
  Place place_;
  Weight in_proj_;   // [3H, H]
  Tensor taps_;      // [H, kernel] f32
  Weight out_proj_;  // [H, H]
};

}  // namespace switchyard
