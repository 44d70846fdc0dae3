#include "engine/step_loop.h"

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

StepLoop::StepLoop(StepLoopParts parts) : parts_(std::move(parts)) {
  publish();
  thread_ = std::thread([this] { run(); });
}

StepLoop::~StepLoop() {
  stopping_ = true;
  parts_.commands.wake();
  thread_.join();
}

EngineLoad StepLoop::load() const {
  std::lock_guard lock(mutex_);
  return load_;
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
  const TimePoint start = parts_.clock.now();
  const StepPlan plan = parts_.scheduler.plan();
  const StepCounts counts = counts_of(plan);
  std::vector<AnswerEnd> ends = parts_.scheduler.commit(plan);
  publish();  // before anybody learns of an end: its memory is seen to be back
  for (AnswerEnd& ended : ends) end(std::move(ended));
  if (!plan.computes()) return;

  parts_.runner.launch(plan);
  const StepTokens tokens = parts_.runner.collect();
  take_commands();  // cancels that came meanwhile take effect in this step
  StepOutcome outcome = parts_.scheduler.finish(plan, tokens);
  ++steps_;
  last_step_ = parts_.clock.now();
  publish();
  if (parts_.observer.on_step) {
    parts_.observer.on_step({.duration = last_step_ - start,
                             .rows = counts.rows,
                             .prefill_tokens = counts.prefill_tokens,
                             .decode_tokens = counts.decode_tokens,
                             .preempted = counts.preempted,
                             .recomputed_tokens = counts.recomputed_tokens});
  }
  hand_out(std::move(outcome));
}

void StepLoop::hand_out(StepOutcome outcome) {
  for (AnswerStep& answer : outcome.deltas) answer.sink->on_delta(std::move(answer.delta));
  for (AnswerEnd& ended : outcome.ends) end(std::move(ended));
  for (const Sequence* sequence : parts_.scheduler.sequences()) {
    parts_.board.update(sequence->request().fields().id, sequence->phase(),
                        sequence->output_tokens());
  }
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
  const ScheduleLoad schedule = parts_.scheduler.load();
  const BlockPool& blocks = parts_.memory.blocks();
  const StatePool& states = parts_.memory.states();
  std::lock_guard lock(mutex_);
  load_.waiting_prompt_tokens = schedule.pending_prompt_tokens;
  load_.kv_blocks_total = blocks.total();
  load_.kv_blocks_free = blocks.free();
  load_.state_slots_total = states.total();
  load_.state_slots_free = states.free();
  load_.steps = steps_;
  load_.last_step = last_step_;
}

}  // namespace switchyard
