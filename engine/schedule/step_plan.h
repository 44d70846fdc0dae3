// StepPlan: what one step will do, as a value. Decided by Scheduler::plan, applied by commit, laid
// out by batch_builder, learned from by finish. Its pointers are borrowed from the scheduler and
// hold until the finish of that step, also those to a sequence whose answer ended meanwhile.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/request/sequence.h"

namespace switchyard {

// Tokens [first_token, first_token + count) of a sequence are computed.
struct PlannedRow {
  Sequence* sequence = nullptr;
  int first_token = 0;
  int count = 0;
  bool wants_logits = false;  // they are its last expected ones: the next is drawn
  // The value of its last token is not known yet: this logit row of the step before draws it.
  int drawn_in_row = -1;
};

struct PlannedEnd {
  Sequence* sequence = nullptr;
  Status why;
};

struct StepPlan {
  std::vector<PlannedEnd> ends;     // cancelled or late: gone before anything else happens
  std::vector<Sequence*> preempts;  // give up their memory, wait again
  std::vector<Sequence*> admits;    // start, with memory for all their known tokens
  std::vector<PlannedRow> rows;     // in the scheduler's order; the order of the batch

  [[nodiscard]] bool computes() const { return !rows.empty(); }
};

struct StepCounts {
  int rows = 0;
  int tokens = 0;             // prefill + decode
  int logits = 0;             // rows that want logits
  int prefill_tokens = 0;     // all that is not decode
  int decode_tokens = 0;      // the last token of an answer, fed back
  int recomputed_tokens = 0;  // of prefill: computed before, lost to preemption
  int preempted = 0;
};

// Before the finish of its step, like everything of a plan.
[[nodiscard]] StepCounts counts_of(const StepPlan& plan);

}  // namespace switchyard
