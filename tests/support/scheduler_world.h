// A scheduler without a device: asks, steps with tokens of the test's choosing, keeps the answers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/schedule/scheduler.h"
#include "tests/support/request_builder.h"

namespace switchyard {

// What a plan said, kept as values: its pointers end with the step.
struct StepSeen {
  std::vector<RequestId> ids;  // of the rows
  std::vector<PlannedRow> rows;
  std::vector<RequestId> preempted;
  StepCounts counts;
};

inline StepSeen seen_in(const StepPlan& plan) {
  StepSeen seen{.ids = {}, .rows = plan.rows, .preempted = {}, .counts = counts_of(plan)};
  for (PlannedRow& row : seen.rows) {
    seen.ids.push_back(row.sequence->request().fields().id);
    row.sequence = nullptr;
  }
  for (const Sequence* sequence : plan.preempts) {
    seen.preempted.push_back(sequence->request().fields().id);
  }
  return seen;
}

struct SchedulerSetup {
  int blocks = 40;
  int block_tokens = 4;
  int state_slots = 9;
  SchedulerLimits limits{.max_batch_tokens = 32, .max_batch_rows = 8};
};

class SchedulerWorld {
 public:
  static constexpr int32_t kWord = 50;  // a token that ends nothing

  explicit SchedulerWorld(const SchedulerSetup& setup = {})
      : memory({.blocks = 1 + setup.blocks,
                .block_tokens = setup.block_tokens,
                .state_slots = 1 + setup.state_slots}),
        scheduler(setup.limits, admit_with_room_to_grow, memory, clock) {}

  RequestId ask(
      int prompt_tokens,
      const std::function<void(RequestFields&)>& change = [](RequestFields&) {}) {
    RequestFields fields = question(std::vector<int32_t>(static_cast<size_t>(prompt_tokens), 5));
    fields.id = RequestId{++asked_};
    fields.arrival = clock.now();
    auto sink = std::make_shared<RecordingSink>();
    fields.sink = sink;
    change(fields);
    sinks[fields.id] = sink;
    RequestLimits limits = small_limits();
    limits.context_tokens = 2000;
    scheduler.add(Request::make(std::move(fields), limits).value(), TextStream{});
    return RequestId{asked_};
  }

  StepPlan begin() {
    StepPlan plan = scheduler.plan();
    hand_out({.deltas = {}, .ends = scheduler.commit(plan)});
    return plan;
  }
  void end(const StepPlan& plan, int32_t token = kWord) {
    const std::vector<int32_t> tokens(plan.rows.size(), token);
    hand_out(scheduler.finish(
        plan, {.token = tokens, .logprob = {}, .top_token = {}, .top_logprob = {}}));
  }
  // A whole step in which every row that wants a token draws `token`.
  StepSeen step(int32_t token = kWord) {
    const StepPlan plan = begin();
    StepSeen seen = seen_in(plan);
    end(plan, token);
    return seen;
  }
  void hand_out(StepOutcome outcome) {
    freed.insert(freed.end(), outcome.freed.begin(), outcome.freed.end());
    for (AnswerStep& each : outcome.deltas) each.sink->on_delta(std::move(each.delta));
    for (AnswerEnd& each : outcome.ends) {
      phase_at_end[each.id] = each.phase;
      cancel_to_free[each.id] = each.cancel_to_free;
      each.sink->on_end(std::move(each.end));
    }
  }

  [[nodiscard]] bool ended(RequestId id) const { return sinks.at(id)->ends.size() == 1; }
  [[nodiscard]] const EndOfAnswer& end_of(RequestId id) const { return sinks.at(id)->ends.at(0); }
  // Overlapped: launches a step, then ends the one launched before, if any.
  StepSeen overlapped_step(int32_t token = kWord) {
    StepPlan plan = begin();
    StepSeen seen = seen_in(plan);
    const std::optional<StepPlan> before =
        std::exchange(in_flight, plan.computes() ? std::optional(std::move(plan)) : std::nullopt);
    if (before) end(*before, token);
    return seen;
  }

  [[nodiscard]] bool all_memory_is_free() const {
    return memory.blocks().free() == memory.blocks().total() &&
           memory.states().free() == memory.states().total();
  }
  [[nodiscard]] SequencePhase phase(RequestId id) const {
    for (const Sequence* sequence : scheduler.sequences()) {
      if (sequence->request().fields().id == id) return sequence->phase();
    }
    ADD_FAILURE() << "no such sequence";
    return SequencePhase::kQueued;
  }

  ManualClock clock;
  SequenceMemory memory;
  Scheduler scheduler;
  std::map<RequestId, std::shared_ptr<RecordingSink>> sinks;
  std::map<RequestId, SequencePhase> phase_at_end;
  std::map<RequestId, std::optional<Duration>> cancel_to_free;
  std::vector<Duration> freed;
  std::optional<StepPlan> in_flight;  // of overlapped steps

 private:
  uint64_t asked_ = 0;
};

}  // namespace switchyard
