// A scheduler at work under a seed: random questions, cancels, deadlines and memory too small for
// them. After every verb of every step it CHECKs what must always hold.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "engine/base/clock.h"
#include "engine/batch/batch_builder.h"
#include "engine/schedule/scheduler.h"
#include "tests/support/request_builder.h"
#include "tests/support/sim_model.h"

namespace switchyard {

// What happened, so that a test can see that what it is about did happen.
struct SimReport {
  int asked = 0;
  int answered = 0;   // ended by themselves, with the answer they get alone
  int cancelled = 0;  // of these, in flight:
  int cancelled_in_flight = 0;
  int late = 0;
  int failed_draws = 0;
  int never_fitting = 0;  // refused by Request::make
  int preempted = 0;
  int recomputed_tokens = 0;
  int steps = 0;
  int freed_at_end = 0;  // of the cancelled, those whose memory came back with their end,
  int freed_later = 0;   // and those for which a step was in flight
  // Of overlapped steps:
  int drawn_ahead = 0;  // rows whose last token was still being drawn
  int wasted_rows = 0;  // computed for an answer that had ended
  int empty_plans = 0;  // with a step in flight
  int edit_waits = 0;   // steps in which a draw waited for room for its edits
};

enum class SimSteps { kOneByOne, kOverlapped };

class SimWorld {
 public:
  SimWorld(uint64_t seed, SimSteps steps);

  // `questions` arrive at random; runs until all have ended.
  SimReport run(int questions);

 private:
  struct Asked {
    Request request;
    std::shared_ptr<RecordingSink> sink;
    bool cancelled = false;
  };
  struct Launched {
    StepPlan plan;
    std::vector<std::vector<BlockId>> blocks;  // of each row
    std::vector<StateSlot> slots;
  };

  int number(int low, int high);  // both included
  bool chance(int one_in) { return number(1, one_in) == 1; }

  RequestFields random_question();
  void ask();
  void cancel_some(int one_in);
  void step();
  Launched launch(StepPlan plan);
  void finish(const Launched& launched);
  void hand_out(StepOutcome outcome);
  void check_answer(const Asked& asked, const AnswerEnd& end);
  void check_memory() const;
  void check_plan(const StepPlan& plan);
  void check_rows(const StepPlan& plan) const;
  void check_in_flight(const StepPlan& plan) const;
  void check_still_leased(const Launched& launched) const;
  void check_cancelled_are_gone() const;

  std::mt19937_64 random_;
  SequenceMemorySize size_;
  SchedulerLimits limits_;
  RequestLimits request_limits_;
  ManualClock clock_;
  SequenceMemory memory_;
  SimDevice device_;
  BatchBuilder builder_;
  Scheduler scheduler_;
  const bool overlap_;
  const bool penalties_;  // some questions have them
  std::optional<Launched> in_flight_;
  std::map<RequestId, Asked> asked_;  // living
  uint64_t last_id_ = 0;
  int64_t steps_allowed_ = 0;
  SimReport report_;
};

}  // namespace switchyard
