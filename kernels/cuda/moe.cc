#include "kernels/cuda/moe.h"

#include <algorithm>

#include "kernels/cuda/combine.h"
#include "kernels/cuda/narrow_experts.h"
#include "kernels/cuda/wide.h"

namespace switchyard::cuda {
namespace {

// Up to this many tokens each reads its experts for itself, which saves a step.
constexpr int64_t kTokensApart = 4;
constexpr int64_t kTokensApartTopK = 8;

// Beyond one turn on average, tiles of x pay; where entries are held, a little before.
bool narrow(const Stream& on, const Routing& routing, const ExpertWeight& weight) {
  constexpr int64_t kMostBelowHeld = 20;
  int64_t rows = narrow_expert_rows(on, weight);
  const bool held = on.capability == 90 && weight.format == WeightFormat::kInt4;
  if (held) rows = std::min(rows, kMostBelowHeld);
  return routing.order.dim(0) <= weight.experts * rows;
}

__nv_bfloat16* bf16(const Tensor& tensor) { return static_cast<__nv_bfloat16*>(tensor.data); }

}  // namespace

void expert_up(const Stream& on, const ExpertUpArgs& args) {
  if (args.x.dim(0) == 0) return;
  if (narrow(on, args.routing, args.gate)) return narrow_expert_up(on, args);
  wide_experts(on, {.x = bf16(args.x),
                    .per_entry = false,
                    .routing = args.routing,
                    .weight = args.gate,
                    .up = args.up,
                    .out = bf16(args.out)});
}

void expert_down(const Stream& on, const ExpertDownArgs& args, bool routed) {
  const int64_t tokens = args.out.dim(0);
  if (tokens == 0) return;
  if (narrow(on, args.routing, args.down)) {
    if (tokens <= kTokensApart && args.routing.expert.dim(1) <= kTokensApartTopK) {
      return narrow_expert_down_of_each_token(on, args, routed);
    }
    narrow_expert_down(on, args, routed);
  } else {
    wide_experts(on, {.x = bf16(args.hidden),
                      .per_entry = true,
                      .routing = args.routing,
                      .weight = args.down,
                      .up = {},
                      .out = bf16(args.expert_work)});
  }
  combine_experts(on, args);
}

}  // namespace switchyard::cuda
