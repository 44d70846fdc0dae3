#include "engine/model/short_conv.h"

namespace switchyard {

Result<ShortConv> ShortConv::load(const ShortConvSpec& spec,
                                  const Norm& norm,
                                  const Place& place,
                                  WeightStore& store) {
  const int64_t hidden = place.hidden_size;
  Result<Weight> in_proj = store.matrix(spec.in_proj, 3 * hidden, hidden);
  if (!in_proj) return in_proj.status();
  Result<Tensor> taps = store.taps(spec.taps, hidden, spec.kernel);
  if (!taps) return taps.status();
  Result<Weight> out_proj = store.matrix(spec.out_proj, hidden, hidden);
  if (!out_proj) return out_proj.status();

  ShortConv conv(norm, place);
  conv.in_proj_ = *in_proj;
  conv.taps_ = *taps;
  conv.out_proj_ = *out_proj;
  return conv;
}

ShortConv::Work ShortConv::take_work(Scratch& scratch, const StepShape& shape) const {
  const DType type = shape.activation;
  const int64_t tokens = shape.tokens;
  const int64_t hidden = place_.hidden_size;
  return {.normed = scratch.take(type, {tokens, hidden}),
          .projected = scratch.take(type, {tokens, 3 * hidden}),
          .mixed = scratch.take(type, {tokens, hidden})};
}

void ShortConv::forward(const ModelStep& step, const Tensor& hidden) const {
  const Work work = take_work(step.scratch, shape_of(step));
  step.backend.short_conv({.out = work.mixed,  // [T, H]
                           .input = norm_.of(hidden, work.normed),
                           .in_proj = in_proj_,
                           .taps = taps_,
                           .state = step.caches.state(place_.cache),
                           .projected_work = work.projected},
                          step.batch);
  step.backend.linear({.out = hidden,  // [T, H]
                       .input = {.x = work.mixed},
                       .weight = out_proj_,
                       .residual = hidden});
}

}  // namespace switchyard
