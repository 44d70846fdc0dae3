// Scheduler: who runs in the next step, with how many tokens, and who has to wait, to give way or
// to end. Owns the sequences. Decides on counts alone: touches no device, no text, no sink.
//
// Order. Sequences are ranked by arrival - priority * kPriorityHeadStart: within a priority first
// come, first served; a level of priority is worth kPriorityHeadStart of waiting. The rank never
// changes, so nobody is overtaken by those who come later than their head start allows: no
// starvation. Admission is strictly by rank, and goes on only while the step has tokens to give.
//
// Preemption. When what runs cannot grow, the last by rank gives up its memory and waits again at
// its rank; its tokens are kept and computed again.
//
// Overlap. A step is: plan, commit, (launch and collect elsewhere), finish. The next one may be
// planned and committed while one is in flight; steps finish in order. Then a sequence whose next
// token is being drawn is planned as if that token were not its last (Sequence::waits_for_draw says
// when not). If it was, the row is wasted: the answer ends at once, the sequence leaves, and its
// memory stays leased until its last row has been collected. Only what comes back at once is
// preempted: when memory is short with a step in flight, nothing is planned until that step has
// finished. The same holds when many wait for the value of the token being drawn: left out, each
// would lose a whole step, while waiting costs everybody the time it takes to plan.
//
// Forward progress. Of the running sequences the first by rank is never preempted, and it has a
// row in every step (rows <= tokens of a step) that is planned with nothing in flight, and in every
// other one unless it waits for its draw. Request::make lets nothing in that does not fit alone. So
// each step brings some sequence closer to its end, and every sequence becomes first.
//
// Logit edits of a step are bounded: a draw whose edits do not fit beside those of earlier rank
// waits for a step in which they do. The first by rank always fits.
//
// Step thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/result.h"
#include "engine/memory/sequence_memory.h"
#include "engine/request/request.h"
#include "engine/request/sequence.h"
#include "engine/schedule/capacity.h"
#include "engine/schedule/step_plan.h"

namespace switchyard {

inline constexpr Duration kPriorityHeadStart = std::chrono::seconds(5);

// Planning takes about as much of a step: one in so many who wait for a value is many.
inline constexpr int kManyIsOneIn = 8;

// Logit edits of one step: 16 MiB.
inline constexpr int kUsualStepEdits = 1 << 20;

struct SchedulerLimits {
  int max_batch_tokens = 0;              // >= max_batch_rows
  int max_batch_rows = 0;                // > 0
  int max_step_edits = kUsualStepEdits;  // over all rows; >= those of any one sequence
};

// Enough for any one sequence, which has at most one for each token of the vocabulary, and for all
// rows together unless they are many and edit thousands each.
[[nodiscard]] constexpr int most_step_edits(int max_batch_rows, int vocab_size) {
  const int64_t all_rows = int64_t{max_batch_rows} * vocab_size;
  return static_cast<int>(
      std::max<int64_t>(vocab_size, std::min<int64_t>(all_rows, kUsualStepEdits)));
}

// What the sampler drew: entry l belongs to the l-th row of the plan that wants logits. Entries
// beyond those are padding.
struct StepTokens {
  std::span<const int32_t> token;      // [L]
  std::span<const float> logprob;      // [L]
  std::span<const int32_t> top_token;  // [L, top_count], by falling probability
  std::span<const float> top_logprob;  // [L, top_count]
  int top_count = 0;                   // >= the largest top_logprobs among the rows
};

// For the engine to hand out: sink->on_delta(delta), sink->on_end(end).
struct AnswerStep {
  std::shared_ptr<TokenSink> sink;
  AnswerDelta delta;
};
struct AnswerEnd {
  RequestId id{};
  std::shared_ptr<TokenSink> sink;
  SequencePhase phase = SequencePhase::kQueued;  // in which it ended
  EndOfAnswer end;
  // Ended by cancel: from the call until the memory was back. Not here if a row was in flight: then
  // in StepOutcome::freed of the step that was waited for.
  std::optional<Duration> cancel_to_free;
};

// How far a living sequence has come.
struct AnswerProgress {
  RequestId id{};
  SequencePhase phase = SequencePhase::kQueued;
  int output_tokens = 0;
};
[[nodiscard]] AnswerProgress progress_of(const Sequence& sequence);

// Deltas first: an answer that ended in this step got its last delta too.
struct StepOutcome {
  std::vector<AnswerStep> deltas;
  std::vector<AnswerEnd> ends;
  std::vector<AnswerProgress> progress = {};  // of those with a delta and without an end
  std::vector<Duration> freed = {};           // see AnswerEnd::cancel_to_free
};

struct ScheduleLoad {
  int running = 0;
  int waiting = 0;                    // preempted ones included
  int64_t pending_prompt_tokens = 0;  // prompt tokens not computed, of waiting and running
  Duration oldest_wait{};             // since arrival, of those never scheduled
};

class Scheduler {
 public:
  // `memory` and `clock` must outlive it.
  Scheduler(SchedulerLimits limits, Capacity capacity, SequenceMemory& memory, const Clock& clock);

  // Ids are unique among the living. The request was made for limits that this memory holds.
  void add(Request request, TextStream text);

  // The answer ends with `why` at the next commit or finish that could. Unknown ids are ignored.
  void cancel(RequestId id, const Status& why, TimePoint asked_at);

  // Changes nothing. One step may be in flight. A plan that computes nothing with one in flight
  // means: finish that first.
  [[nodiscard]] StepPlan plan() const;

  // Applies the latest plan; its rows are in flight then. Memory of what ended is back when it
  // returns, but for what is in flight.
  [[nodiscard]] std::vector<AnswerEnd> commit(const StepPlan& plan);

  // The oldest committed plan's rows were computed and these tokens drawn. Also ends those of its
  // rows that were cancelled or became late meanwhile. A drawn token of -1 ends its answer:
  // internal.
  [[nodiscard]] StepOutcome finish(const StepPlan& plan, const StepTokens& tokens);

  // Everything ends now with `why`, also what is in flight (whose results nobody will learn, and
  // which must not be finished any more). The device has nothing left to do.
  [[nodiscard]] std::vector<AnswerEnd> end_all(const Status& why);

  // Nothing to do and nothing leased.
  [[nodiscard]] bool idle() const { return sequences_.empty() && leaving_.empty(); }
  [[nodiscard]] ScheduleLoad load() const;
  [[nodiscard]] std::vector<const Sequence*> sequences() const;  // by rank
  // Those whose answer ended and whose last row has not been collected.
  [[nodiscard]] std::vector<const Sequence*> leaving() const;

 private:
  struct Rank {
    TimePoint start{};    // arrival less the head start
    uint64_t number = 0;  // of add()
    auto operator<=>(const Rank&) const = default;
  };

  // What a plan has left to give while it is being made.
  struct Claims {
    std::vector<Sequence*> running;  // by rank, then those admitted now by rank
    std::vector<Sequence*> waiting;  // by rank
    int free_blocks = 0;
    int free_slots = 0;

    void give_back(const Sequence& sequence);
  };

  // False: memory is short, and may come back with the step in flight.
  [[nodiscard]] bool plan_growth(StepPlan& plan, Claims& claims) const;
  [[nodiscard]] static bool many_wait_for_values(const std::vector<Sequence*>& running);
  void plan_admission(StepPlan& plan, Claims& claims) const;
  void plan_rows(StepPlan& plan, const std::vector<Sequence*>& running) const;
  [[nodiscard]] int missing_blocks(const Sequence& sequence) const;
  void launch(const StepPlan& plan);
  void learn(Sequence& sequence, const SampledToken& token, StepOutcome& outcome);
  AnswerEnd remove(const Sequence& sequence, EndOfAnswer end);
  void free_collected(StepOutcome& outcome);

  const SchedulerLimits limits_;
  const Capacity capacity_;
  SequenceMemory& memory_;
  const Clock& clock_;
  std::map<Rank, std::unique_ptr<Sequence>> sequences_;
  std::unordered_map<RequestId, Rank> rank_of_;
  std::unordered_map<const Sequence*, std::unique_ptr<Sequence>> leaving_;
  int steps_in_flight_ = 0;
  uint64_t added_ = 0;
};

}  // namespace switchyard
