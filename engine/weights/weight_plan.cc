#include "engine/weights/weight_plan.h"

#include <array>

namespace switchyard {
namespace {

struct Named {
  WeightChoice choice;
  std::string_view name;
  WeightFormat format;  // of kAuto: what it falls back to
};

constexpr std::array kChoices = {
    Named{WeightChoice::kAuto, "auto", WeightFormat::kBf16},
    Named{WeightChoice::kBf16, "bf16", WeightFormat::kBf16},
    Named{WeightChoice::kFp8, "fp8", WeightFormat::kFp8},
    Named{WeightChoice::kInt8, "int8", WeightFormat::kInt8},
    Named{WeightChoice::kInt4, "int4", WeightFormat::kInt4},
};

const Named& entry(WeightChoice choice) { return kChoices[static_cast<size_t>(choice)]; }

}  // namespace

std::optional<WeightChoice> weight_choice(std::string_view name) {
  for (const Named& named : kChoices) {
    if (named.name == name) return named.choice;
  }
  return std::nullopt;
}

std::string_view name_of(WeightChoice choice) { return entry(choice).name; }

WeightChoice WeightPlan::head_choice() const {
  if (head != WeightChoice::kAuto) return head;
  return weights == WeightChoice::kInt4 ? WeightChoice::kInt8 : weights;
}

Status check(const WeightPlan& plan, const Backend& backend) {
  const auto multiplied = [&](std::string_view field, WeightChoice choice) {
    if (choice == WeightChoice::kAuto || backend.multiplies(entry(choice).format)) return Status();
    return Status::invalid(field, "is ", name_of(choice), ", which the ", backend.name(),
                           " backend does not multiply");
  };
  if (Status status = multiplied("weights", plan.weights); !status.ok()) return status;
  return multiplied("head-weights", plan.head_choice());
}

WeightFormat format_for(WeightChoice choice, WeightFormat stored, const Backend& backend) {
  if (choice == WeightChoice::kAuto && backend.multiplies(stored)) return stored;
  return entry(choice).format;
}

}  // namespace switchyard
