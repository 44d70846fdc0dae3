#include "engine/step_loop.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "engine/text/detokenizer.h"

namespace switchyard {
namespace {

// How long an idle step thread sleeps when nobody wakes it. Deadlines of waiting requests do not
// depend on it: with anything in flight it does not sleep.
constexpr auto kIdleSleep = std::chrono::seconds(1);

TextStream text_stream(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return {};
  auto detokenizer = std::make_shared<Detokenizer>(*tokenizer, DecodeOptions{.skip_special = true});
  return {.push = [detokenizer](int32_t token) { return std::string(detokenizer->push(token)); },
          .finish = [detokenizer] { return std::string(detokenizer->finish()); }};
}

}  // namespace

StepLoop::StepLoop(StepLoopParts parts)
    : parts_(std::move(parts)),
      on_layer_([this] { published_.last_progress = parts_.clock.now(); }) {
  publish();
  thread_ = std::thread([this] { run(); });
}

StepLoop::~StepLoop() {
  stopping_ = true;
  parts_.commands.wake();
  thread_.join();
}

EngineLoad StepLoop::load() const {
  EngineLoad load;
  load.waiting_prompt_tokens = published_.pending_prompt_tokens;
  load.kv_blocks_total = parts_.memory.blocks().total();  // constant
  load.kv_blocks_free = published_.kv_blocks_free;
  load.state_slots_total = parts_.memory.states().total();  // constant
  load.state_slots_free = published_.state_slots_free;
  load.steps = published_.steps;
  load.last_step = published_.last_step;
  load.last_progress = published_.last_progress;
  return load;
}

void StepLoop::run() {
  while (!stopping_) {
    take_commands();
    if (parts_.scheduler.idle()) {
      publish();
      parts_.commands.wait_for(kIdleSleep);
    } else {
      step();
    }
  }
  if (in_flight_) (void)parts_.runner.collect();  // nobody learns it, but then the device is done
  in_flight_.reset();
  take_commands();  // what was accepted gets its end too
  for (AnswerEnd& ended : parts_.scheduler.end_all(Status(Code::kAborted, "the node stops"))) {
    end(std::move(ended));
  }
  publish();
}

void StepLoop::take_commands() {
  for (EngineCommand& command : parts_.commands.take_all()) {
    if (auto* submit = std::get_if<SubmitCommand>(&command)) {
      parts_.scheduler.add(std::move(submit->request), text_stream(parts_.tokenizer));
    } else {
      const auto& cancel = std::get<CancelCommand>(command);
      parts_.scheduler.cancel(cancel.id, cancel.why, cancel.asked_at);
    }
  }
}

void StepLoop::step() {
  const TimePoint began = parts_.clock.now();
  StepPlan plan = parts_.scheduler.plan();
  const StepCounts counts = counts_of(plan);
  std::vector<AnswerEnd> ends = parts_.scheduler.commit(plan);
  std::optional<LaunchedStep> launched;
  if (plan.computes()) {
    parts_.runner.launch(plan, on_layer_);
    launched = {.plan = std::move(plan), .counts = counts, .began = began};
  }
  publish();  // before anybody learns of an end: its memory is seen to be back
  for (AnswerEnd& ended : ends) end(std::move(ended));
  if (launched) note_moved(launched->plan);
  // What is finished now is the step before, while this one computes.
  if (parts_.overlap) std::swap(launched, in_flight_);
  if (launched) finish(*launched);
}

// Who stopped or began to run.
void StepLoop::note_moved(const StepPlan& plan) {
  std::vector<AnswerProgress> moved;
  for (const Sequence* sequence : plan.preempts) moved.push_back(progress_of(*sequence));
  for (const Sequence* sequence : plan.admits) moved.push_back(progress_of(*sequence));
  parts_.board.update(moved);
}

void StepLoop::finish(const LaunchedStep& launched) {
  const StepTokens tokens = parts_.runner.collect();
  take_commands();  // cancels that came meanwhile take effect in this step
  StepOutcome outcome = parts_.scheduler.finish(launched.plan, tokens);
  ++steps_;
  // The time that it shared with the step before is that step's.
  const TimePoint began = std::max(launched.began, last_step_);
  last_step_ = parts_.clock.now();
  published_.last_progress = last_step_;
  publish();
  if (parts_.observer.on_step) {
    parts_.observer.on_step({.duration = last_step_ - began,
                             .rows = launched.counts.rows,
                             .prefill_tokens = launched.counts.prefill_tokens,
                             .decode_tokens = launched.counts.decode_tokens,
                             .preempted = launched.counts.preempted,
                             .recomputed_tokens = launched.counts.recomputed_tokens});
  }
  hand_out(std::move(outcome));
}

void StepLoop::hand_out(StepOutcome outcome) {
  parts_.board.update(outcome.progress);
  for (AnswerStep& answer : outcome.deltas) answer.sink->on_delta(std::move(answer.delta));
  for (AnswerEnd& ended : outcome.ends) end(std::move(ended));
  if (!parts_.observer.on_freed) return;
  for (const Duration after_cancel : outcome.freed) parts_.observer.on_freed(after_cancel);
}

void StepLoop::end(AnswerEnd ended) {
  parts_.board.remove(ended.id);
  if (parts_.observer.on_end) {
    parts_.observer.on_end({.id = ended.id,
                            .phase = ended.phase,
                            .end = ended.end,
                            .cancel_to_free = ended.cancel_to_free});
  }
  ended.sink->on_end(std::move(ended.end));
}

void StepLoop::publish() {
  published_.pending_prompt_tokens = parts_.scheduler.load().pending_prompt_tokens;
  published_.kv_blocks_free = parts_.memory.blocks().free();
  published_.state_slots_free = parts_.memory.states().free();
  published_.steps = steps_;
  published_.last_step = last_step_;
}

}  // namespace switchyard
