// WeightPlan: in which formats a model's matrices are kept, whatever its checkpoint has.
// Norms, taps, router and selection bias are none of its business: they stay as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/result.h"
#include "kernels/backend.h"

namespace switchyard {

enum class WeightChoice : uint8_t {
  kAuto,  // the checkpoint's own; bf16 where the backend does not multiply that
  kBf16,
  kFp8,
  kInt8,
  kInt4,
};

inline constexpr std::string_view kWeightChoices = "auto, bf16, fp8, int8 or int4";

// The choice of that name; nothing if there is none.
std::optional<WeightChoice> weight_choice(std::string_view name);
std::string_view name_of(WeightChoice choice);

struct WeightPlan {
  WeightChoice weights = WeightChoice::kAuto;
  WeightChoice head = WeightChoice::kAuto;  // auto: as `weights`, but of int4 int8
  ScaleChoice scales = ScaleChoice::kRound;

  [[nodiscard]] WeightChoice head_choice() const;
};

// Whether the backend multiplies what the plan asks for. Errors name the field.
Status check(const WeightPlan& plan, const Backend& backend);

// What becomes of a matrix that is stored so.
WeightFormat format_for(WeightChoice choice, WeightFormat stored, const Backend& backend);

}  // namespace switchyard
