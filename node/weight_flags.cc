#include "node/weight_flags.h"

#include <optional>

namespace switchyard {
namespace {

Status read_choice(std::string_view flag, std::string_view text, WeightChoice& out) {
  const std::optional<WeightChoice> choice = weight_choice(text);
  if (!choice) return Status::invalid(flag, "\"", text, "\" is none of ", kWeightChoices);
  out = *choice;
  return {};
}

}  // namespace

Result<WeightPlan> read_weight_flags(const WeightFlags& flags) {
  WeightPlan plan;
  for (const Status& status : {read_choice("--weights", flags.weights, plan.weights),
                               read_choice("--head-weights", flags.head, plan.head)}) {
    if (!status.ok()) return status;
  }
  if (flags.scales != "round" && flags.scales != "search") {
    return Status::invalid("--weight-scales", "\"", flags.scales, "\" is neither round nor search");
  }
  plan.scales = flags.scales == "round" ? ScaleChoice::kRound : ScaleChoice::kSearch;
  return plan;
}

std::string name_of(ScaleChoice choice) {
  return choice == ScaleChoice::kRound ? "round" : "search";
}

}  // namespace switchyard
