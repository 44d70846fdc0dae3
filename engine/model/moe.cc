#include "engine/model/moe.h"

namespace switchyard {

Result<Moe> Moe::load(const MoeSpec& spec,
                      const Norm& norm,
                      const Place& place,
                      WeightStore& store) {
  Result<Weight> router = store.router(spec.router_weight, spec.experts, place.hidden_size);
  if (!router) return router.status();
  Moe moe(spec.router, norm, place);
  moe.router_ = *router;
  if (!spec.selection_bias.empty()) {
    Result<Tensor> bias = store.selection_bias(spec.selection_bias, spec.experts);
    if (!bias) return bias.status();
    moe.selection_bias_ = *bias;
  }
  ExpertRequest request{.prefix = spec.experts_prefix,
                        .which = ExpertMatrix::kGate,
                        .experts = spec.experts,
                        .hidden = place.hidden_size,
                        .width = spec.width};
  Result<ExpertWeight> gate = store.experts(request);
  if (!gate) return gate.status();
  request.which = ExpertMatrix::kUp;
  Result<ExpertWeight> up = store.experts(request);
  if (!up) return up.status();
  if (gate->format != up->format) {
    return Status(Code::kInvalidArgument, "tensors '", spec.experts_prefix,
                  "': gate and up are of different types");
  }
  request.which = ExpertMatrix::kDown;
  Result<ExpertWeight> down = store.experts(request);
  if (!down) return down.status();

  moe.gate_ = *gate;
  moe.up_ = *up;
  moe.down_ = *down;
  return moe;
}

Moe::Work Moe::take_work(Scratch& scratch, const StepShape& shape) const {
  const DType type = shape.activation;
  const int64_t tokens = shape.tokens;
  const int64_t top_k = spec_.top_k;
  const Tensor normed = scratch.take(type, {tokens, place_.hidden_size});
  const Routing routing{.expert = scratch.take(DType::kI32, {tokens, top_k}),
                        .weight = scratch.take(DType::kF32, {tokens, top_k}),
                        .order = scratch.take(DType::kI32, {tokens * top_k}),
                        .expert_start = scratch.take(DType::kI32, {router_.rows + 1})};
  return {.normed = normed,
          .routing = routing,
          .gated = scratch.take(type, {tokens * top_k, gate_.rows}),
          .down = scratch.take(type, {tokens * top_k, place_.hidden_size})};
}

void Moe::forward(const ModelStep& step, const Tensor& hidden) const {
  const Work work = take_work(step.scratch, shape_of(step));
  step.backend.route({.routing = work.routing,  // T tokens, K experts each
                      .input = norm_.of(hidden, work.normed),
                      .router = router_,
                      .bias = selection_bias_,
                      .spec = spec_,
                      .live_tokens = step.batch.live_tokens});
  if (step.on_routing) step.on_routing(place_.layer, work.routing);
  step.backend.expert_up({.out = work.gated,  // [T * K, F]
                          .x = work.normed,
                          .routing = work.routing,
                          .gate = gate_,
                          .up = up_});
  step.backend.expert_down({.out = hidden,  // [T, H]
                            .hidden = work.gated,
                            .residual = hidden,
                            .routing = work.routing,
                            .down = down_,
                            .expert_work = work.down});
}

}  // namespace switchyard
