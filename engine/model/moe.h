// Moe: the mixture-of-experts feed-forward, in three ops. Every expert's weights are at hand; which
// of them a step reads is the router's choice, made on the device.
#pragma once

#include "engine/base/result.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/model/norm.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

class Moe {
 public:
  struct Place {
    int hidden_size = 0;  // H
    int layer = 0;        // what a RoutingObserver is told
  };
  static Result<Moe> load(const MoeSpec& spec,
                          const Norm& norm,
                          const Place& place,
                          WeightStore& store);

  // hidden += moe(norm(hidden));  hidden [T, H]
  void forward(const ModelStep& step, const Tensor& hidden) const;

  // The intermediate tensors of a step.
  struct Work {
    Tensor normed;    // [T, H]
    Routing routing;  // of T tokens, K experts each
    Tensor gated;     // [T * K, F]
    Tensor down;      // [T * K, H]
  };
  [[nodiscard]] Work take_work(Scratch& scratch, const StepShape& shape) const;

 private:
  Moe(const RouterSpec& router, const Norm& norm, const Place& place)
      : spec_(router), norm_(norm), place_(place) {}

  RouterSpec spec_;
  Norm norm_;
  Place place_;
  Weight router_;           // [E, H]
  Tensor selection_bias_;   // [E] f32 or empty
  ExpertWeight gate_, up_;  // E of [F, H]
  ExpertWeight down_;       // E of [H, F]
};

}  // namespace switchyard
