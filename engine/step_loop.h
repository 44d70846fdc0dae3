// StepLoop: the step thread. Takes commands, plans, computes, hands out; the only code that touches
// the scheduler, the sequences and the runner once the engine serves.
//
//   overlapped:  plan(n+1) commit launch(n+1)  collect(n) finish(n)   the device computes meanwhile
//   otherwise:   plan(n)   commit launch(n)    collect(n) finish(n)
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <variant>

#include "engine/base/queue.h"
#include "engine/engine.h"
#include "engine/in_flight.h"
#include "engine/memory/sequence_memory.h"
#include "engine/run/model_runner.h"
#include "engine/schedule/scheduler.h"

namespace switchyard {

struct SubmitCommand {
  Request request;
};
struct CancelCommand {
  RequestId id{};
  Status why;
  TimePoint asked_at{};
};
using EngineCommand = std::variant<SubmitCommand, CancelCommand>;

struct StepLoopParts {
  ModelRunner& runner;
  SequenceMemory& memory;
  Scheduler& scheduler;
  InFlightBoard& board;
  Queue<EngineCommand>& commands;
  const Tokenizer* tokenizer;  // null: answers without text
  const Clock& clock;
  EngineObserver observer;
  bool overlap = false;
};

class StepLoop {
 public:
  // Starts the thread. Everything in `parts` must outlive it.
  explicit StepLoop(StepLoopParts parts);
  // Ends what is in flight with `aborted`, then joins.
  ~StepLoop();

  // Any thread, without a lock. Pools, steps and pending prompt tokens as the last step left them.
  [[nodiscard]] EngineLoad load() const;

 private:
  struct LaunchedStep {
    StepPlan plan;
    StepCounts counts;
    TimePoint began{};
  };

  void run();
  void take_commands();
  void step();
  void note_moved(const StepPlan& plan);
  void finish(const LaunchedStep& launched);
  void hand_out(StepOutcome outcome);
  void end(AnswerEnd end);
  void publish();

  StepLoopParts parts_;
  std::atomic<bool> stopping_ = false;
  // What load() tells. Written by the step thread alone.
  struct Published {
    std::atomic<int64_t> pending_prompt_tokens{0};
    std::atomic<int64_t> kv_blocks_free{0}, state_slots_free{0};
    std::atomic<int64_t> steps{0};
    std::atomic<TimePoint> last_step{TimePoint()}, last_progress{TimePoint()};
  };
  Published published_;
  const std::function<void()> on_layer_;
  std::optional<LaunchedStep> in_flight_;
  int64_t steps_ = 0;
  TimePoint last_step_{};
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace switchyard
