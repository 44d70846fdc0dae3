// The flags --weights, --head-weights and --weight-scales, which `serve` and `bench` share.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/weights/weight_plan.h"

namespace switchyard {

struct WeightFlags {
  std::string weights = "auto";
  std::string head = "auto";
  std::string scales = "round";
};

inline constexpr char kWeightsHelp[] =
    "What matrices are kept as: auto (as the checkpoint has them), bf16, fp8, int8, int4";
inline constexpr char kHeadWeightsHelp[] =
    "The output head: the same choices; auto: as --weights, but int8 with int4";
inline constexpr char kWeightScalesHelp[] =
    "Scales of quantised weights: round (by the largest), search (least squared error; slow)";

// Errors name the flag and its choices.
Result<WeightPlan> read_weight_flags(const WeightFlags& flags);

// As --weight-scales spells it.
std::string name_of(ScaleChoice choice);

}  // namespace switchyard
