// StepPlan: what one step will do, as a value.
#include "engine/schedule/step_plan.h"

#include <algorithm>

namespace switchyard {

StepCounts counts_of(const StepPlan& plan) {
  StepCounts counts;
  counts.rows = static_cast<int>(plan.rows.size());
  counts.preempted = static_cast<int>(plan.preempts.size());
  for (const PlannedRow& row : plan.rows) {
    const int recomputed = row.sequence->furthest_computed_tokens() - row.first_token;
    counts.tokens += row.count;
    counts.logits += row.wants_logits ? 1 : 0;
    counts.recomputed_tokens += std::clamp(recomputed, 0, row.count);
    const bool decodes =
        row.wants_logits && row.count == 1 && row.first_token >= row.sequence->prompt_tokens();
    (decodes ? counts.decode_tokens : counts.prefill_tokens) += row.count;
  }
  return counts;
}

}  // namespace switchyard
