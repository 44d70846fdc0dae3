#include "engine/model/mlp.h"

namespace switchyard {

Result<GatedMlp> GatedMlp::load(const GatedMlpSpec& spec,
                                const Norm& norm,
                                int hidden_size,
                                WeightStore& store) {
  Result<Weight> gate = store.matrix(spec.gate, spec.width, hidden_size);
  if (!gate) return gate.status();
  Result<Weight> up = store.matrix(spec.up, spec.width, hidden_size);
  if (!up) return up.status();
  if (gate->format != up->format) {
    return Status(Code::kInvalidArgument, "tensors '", spec.gate, "' and '", spec.up,
                  "' are of different types");
  }
  Result<Weight> down = store.matrix(spec.down, hidden_size, spec.width);
  if (!down) return down.status();

  GatedMlp mlp(norm);
  mlp.gate_ = *gate;
  mlp.up_ = *up;
  mlp.down_ = *down;
  return mlp;
}

GatedMlp::Work GatedMlp::take_work(Scratch& scratch, const StepShape& shape) const {
  return {.normed = scratch.take(shape.activation, {shape.tokens, gate_.cols}),
          .gated = scratch.take(shape.activation, {shape.tokens, gate_.rows})};
}

void GatedMlp::forward(const ModelStep& step, const Tensor& hidden) const {
  const Work work = take_work(step.scratch, shape_of(step));
  step.backend.gated_linear({.out = work.gated,  // [T, F]
                             .input = norm_.of(hidden, work.normed),
                             .gate = gate_,
                             .up = up_});
  step.backend.linear({.out = hidden,  // [T, H]
                       .input = {.x = work.gated},
                       .weight = down_,
                       .residual = hidden});
}

}  // namespace switchyard
