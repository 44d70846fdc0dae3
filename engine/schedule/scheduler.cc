// Scheduler: who runs in the next step, with how many tokens, and who has to wait, to give way or
// to end.
#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "engine/schedule/chunker.h"
#include "kernels/base/check.h"

namespace switchyard {

namespace {

SampledToken sampled(const StepTokens& tokens, size_t logit, size_t wanted_top) {
  SampledToken token{.token = tokens.token[logit]};
  if (logit < tokens.logprob.size()) token.logprob = tokens.logprob[logit];
  if (wanted_top > 0) {
    const auto top_count = static_cast<size_t>(tokens.top_count);
    CHECK(tokens.top_token.size() >= (logit + 1) * top_count);
    CHECK(tokens.top_logprob.size() >= (logit + 1) * top_count);
    token.top_token = tokens.top_token.subspan(logit * top_count, top_count);
    token.top_logprob = tokens.top_logprob.subspan(logit * top_count, top_count);
  }
  return token;
}

// Memory for all tokens that the sequence expects. The plan counted these blocks.
void grow(Sequence& sequence) {
  CHECK(sequence.lease().reserve(sequence.expected_tokens()));
  sequence.lease().commit();
}

}  // namespace

AnswerProgress progress_of(const Sequence& sequence) {
  return {.id = sequence.request().fields().id,
          .phase = sequence.phase(),
          .output_tokens = sequence.output_tokens()};
}

Scheduler::Scheduler(SchedulerLimits limits,
                     Capacity capacity,
                     SequenceMemory& memory,
                     const Clock& clock)
    : limits_(limits), capacity_(std::move(capacity)), memory_(memory), clock_(clock) {
  CHECK(limits_.max_batch_rows > 0 && limits_.max_batch_tokens >= limits_.max_batch_rows);
  CHECK(limits_.max_step_edits > 0 && memory_.states().total() > 0);
}

void Scheduler::add(Request request, TextStream text) {
  const RequestFields& fields = request.fields();
  const RequestId id = fields.id;
  const size_t most_tokens = fields.prompt.size() + static_cast<size_t>(fields.stop.max_new_tokens);
  CHECK(memory_.blocks_for(static_cast<int>(most_tokens)) <= memory_.blocks().total());

  const Rank rank{.start = fields.arrival - fields.priority * kPriorityHeadStart,
                  .number = added_++};
  CHECK(rank_of_.emplace(id, rank).second);
  sequences_.emplace(
      rank, std::make_unique<Sequence>(std::move(request), std::move(text), memory_.lease()));
}

void Scheduler::cancel(RequestId id, const Status& why, TimePoint asked_at) {
  const auto rank = rank_of_.find(id);
  if (rank != rank_of_.end()) sequences_.at(rank->second)->ask_to_end(why, asked_at);
}

// plan ---------------------------------------------------------------------------------------

StepPlan Scheduler::plan() const {
  CHECK(steps_in_flight_ < kMostStepsInFlight);
  const TimePoint now = clock_.now();
  StepPlan plan;
  Claims claims{.running = {},
                .waiting = {},
                .free_blocks = memory_.blocks().free(),
                .free_slots = memory_.states().free()};
  for (const auto& [rank, sequence] : sequences_) {
    if (std::optional<Status> why = sequence->due_end(now)) {
      claims.give_back(*sequence);
      plan.ends.push_back({sequence.get(), *std::move(why)});
    } else {
      (sequence->running() ? claims.running : claims.waiting).push_back(sequence.get());
    }
  }
  if (many_wait_for_values(claims.running) || !plan_growth(plan, claims)) return plan;
  // Who gives way ranks before some who wait: they must not take what it left.
  if (plan.preempts.empty()) plan_admission(plan, claims);
  plan_rows(plan, claims.running);
  return plan;
}

void Scheduler::Claims::give_back(const Sequence& sequence) {
  if (sequence.in_flight_tokens() > 0) return;  // not yet
  free_blocks += static_cast<int>(sequence.lease().blocks().size());
  free_slots += sequence.lease().holds_state() ? 1 : 0;
}

bool Scheduler::many_wait_for_values(const std::vector<Sequence*>& running) {
  const auto waiting = std::count_if(running.begin(), running.end(), [](const Sequence* sequence) {
    return sequence->waits_for_value();
  });
  return static_cast<size_t>(waiting) * kManyIsOneIn > running.size();
}

int Scheduler::missing_blocks(const Sequence& sequence) const {
  const int needed = memory_.blocks_for(sequence.expected_tokens());
  return std::max(0, needed - static_cast<int>(sequence.lease().blocks().size()));
}

// By rank, so that whoever gives way is later than those already served; possibly he who asks.
bool Scheduler::plan_growth(StepPlan& plan, Claims& claims) const {
  std::vector<Sequence*>& running = claims.running;
  for (size_t i = 0; i < running.size(); ++i) {
    const int missing = running[i]->waits_for_draw() ? 0 : missing_blocks(*running[i]);
    if (claims.free_blocks < missing && steps_in_flight_ > 0) return false;
    while (i < running.size() && claims.free_blocks < missing) {
      CHECK(running.size() > 1);  // what runs alone fits
      claims.give_back(*running.back());
      plan.preempts.push_back(running.back());
      running.pop_back();
    }
    if (i < running.size()) claims.free_blocks -= missing;
  }
  return true;
}

void Scheduler::plan_admission(StepPlan& plan, Claims& claims) const {
  std::vector<Sequence*>& running = claims.running;
  int64_t wanted_tokens = 0;
  for (const Sequence* sequence : running) wanted_tokens += sequence->pending_tokens();
  for (Sequence* sequence : claims.waiting) {
    if (wanted_tokens >= limits_.max_batch_tokens) break;
    if (running.size() == static_cast<size_t>(limits_.max_batch_rows)) break;
    if (claims.free_slots == 0) break;
    const int needed = missing_blocks(*sequence);
    if (!capacity_({.needed_blocks = needed,
                    .free_blocks = claims.free_blocks,
                    .running = static_cast<int>(running.size())})) {
      break;
    }
    CHECK(needed <= claims.free_blocks);
    claims.free_blocks -= needed;
    --claims.free_slots;
    wanted_tokens += sequence->pending_tokens();
    plan.admits.push_back(sequence);
    running.push_back(sequence);
  }
}

void Scheduler::plan_rows(StepPlan& plan, const std::vector<Sequence*>& running) const {
  std::vector<Sequence*> ready;
  std::vector<PendingTokens> pending;
  for (Sequence* sequence : running) {
    if (sequence->waits_for_draw()) continue;
    ready.push_back(sequence);
    pending.push_back({.computed = sequence->computed_tokens() + sequence->in_flight_tokens(),
                       .pending = sequence->pending_tokens()});
  }
  const std::vector<int> chunks = chunk_tokens(
      pending, {.budget_tokens = limits_.max_batch_tokens, .block_tokens = memory_.block_tokens()});
  size_t edits_left = static_cast<size_t>(limits_.max_step_edits);
  for (size_t i = 0; i < ready.size(); ++i) {
    if (chunks[i] == 0) continue;
    const bool draws = chunks[i] == pending[i].pending;
    const size_t edits = draws ? ready[i]->edits().size() : 0;
    CHECK(edits <= static_cast<size_t>(limits_.max_step_edits));
    if (edits > edits_left) continue;
    edits_left -= edits;
    plan.rows.push_back({.sequence = ready[i],
                         .first_token = pending[i].computed,
                         .count = chunks[i],
                         .wants_logits = draws,
                         .drawn_in_row = ready[i]->drawn_in_row()});
  }
}

// commit and finish --------------------------------------------------------------------------

std::vector<AnswerEnd> Scheduler::commit(const StepPlan& plan) {
  const TimePoint now = clock_.now();
  std::vector<AnswerEnd> ends;
  for (const auto& [sequence, why] : plan.ends) {
    ends.push_back(remove(*sequence, sequence->failed(why, now)));
  }
  for (Sequence* sequence : plan.preempts) sequence->preempt();
  for (Sequence* sequence : plan.admits) {
    sequence->admit(now);
    grow(*sequence);
  }
  if (plan.computes()) launch(plan);
  return ends;
}

void Scheduler::launch(const StepPlan& plan) {
  ++steps_in_flight_;
  int logit_row = 0;
  for (const PlannedRow& row : plan.rows) {
    grow(*row.sequence);
    row.sequence->launch({.count = row.count, .logit_row = row.wants_logits ? logit_row++ : -1});
  }
}

StepOutcome Scheduler::finish(const StepPlan& plan, const StepTokens& tokens) {
  CHECK(plan.computes() && steps_in_flight_ > 0);
  --steps_in_flight_;
  const TimePoint now = clock_.now();
  StepOutcome outcome;
  size_t logit = 0;
  for (const PlannedRow& row : plan.rows) {
    Sequence& sequence = *row.sequence;
    sequence.collect();
    const size_t drawn = logit;
    logit += row.wants_logits ? 1 : 0;
    CHECK(logit <= tokens.token.size());

    if (leaving_.contains(&sequence)) continue;  // a wasted row
    if (const std::optional<Status> why = sequence.due_end(now)) {
      outcome.ends.push_back(remove(sequence, sequence.failed(*why, now)));
      continue;
    }
    if (!row.wants_logits) continue;
    const auto wanted_top = static_cast<size_t>(sequence.request().fields().sampling.top_logprobs);
    learn(sequence, sampled(tokens, drawn, wanted_top), outcome);
  }
  free_collected(outcome);
  return outcome;
}

void Scheduler::learn(Sequence& sequence, const SampledToken& token, StepOutcome& outcome) {
  const TimePoint now = clock_.now();
  const RequestFields& fields = sequence.request().fields();
  if (token.token < 0) {
    const Status why = Status::internal("no finite logit to draw token ", sequence.output_tokens(),
                                        " of the answer from");
    outcome.ends.push_back(remove(sequence, sequence.failed(why, now)));
    return;
  }
  LearnedToken learned = sequence.learn(token, now);
  outcome.deltas.push_back({fields.sink, std::move(learned.delta)});
  if (learned.end) {
    outcome.ends.push_back(remove(sequence, *std::move(learned.end)));
  } else {
    outcome.progress.push_back(progress_of(sequence));
  }
}

// Those that left, once nothing of them is in flight.
void Scheduler::free_collected(StepOutcome& outcome) {
  for (auto leaving = leaving_.begin(); leaving != leaving_.end();) {
    if (leaving->second->in_flight_tokens() > 0) {
      ++leaving;
      continue;
    }
    const std::optional<TimePoint> asked_at = leaving->second->asked_to_end_at();
    leaving = leaving_.erase(leaving);
    if (asked_at) outcome.freed.push_back(clock_.now() - *asked_at);
  }
}

std::vector<AnswerEnd> Scheduler::end_all(const Status& why) {
  const TimePoint now = clock_.now();
  std::vector<AnswerEnd> ends;
  while (!sequences_.empty()) {
    const Sequence& sequence = *sequences_.begin()->second;
    ends.push_back(remove(sequence, sequence.failed(why, now)));
  }
  leaving_.clear();
  steps_in_flight_ = 0;
  return ends;
}

// The sequence is gone afterwards, its memory back; or it leaves, while something is in flight.
AnswerEnd Scheduler::remove(const Sequence& sequence, EndOfAnswer end) {
  const RequestFields& fields = sequence.request().fields();
  const std::optional<TimePoint> asked_at = sequence.asked_to_end_at();
  AnswerEnd answer{.id = fields.id,
                   .sink = fields.sink,
                   .phase = sequence.phase(),
                   .end = std::move(end),
                   .cancel_to_free = std::nullopt};
  const auto rank = rank_of_.find(answer.id);
  CHECK(rank != rank_of_.end());
  auto owned = sequences_.extract(rank->second);
  rank_of_.erase(rank);
  if (sequence.in_flight_tokens() > 0) {
    leaving_.emplace(&sequence, std::move(owned.mapped()));
    return answer;
  }
  owned.mapped().reset();
  if (asked_at) answer.cancel_to_free = clock_.now() - *asked_at;
  return answer;
}

// what the engine tells of itself ------------------------------------------------------------

ScheduleLoad Scheduler::load() const {
  ScheduleLoad load;
  const TimePoint now = clock_.now();
  for (const auto& [rank, sequence] : sequences_) {
    ++(sequence->running() ? load.running : load.waiting);
    load.pending_prompt_tokens +=
        std::max(0, sequence->prompt_tokens() - sequence->computed_tokens());
    if (!sequence->was_scheduled()) {
      load.oldest_wait = std::max(load.oldest_wait, now - sequence->request().fields().arrival);
    }
  }
  return load;
}

std::vector<const Sequence*> Scheduler::sequences() const {
  std::vector<const Sequence*> all;
  all.reserve(sequences_.size());
  for (const auto& [rank, sequence] : sequences_) all.push_back(sequence.get());
  return all;
}

std::vector<const Sequence*> Scheduler::leaving() const {
  std::vector<const Sequence*> all;
  for (const auto& [sequence, owned] : leaving_) all.push_back(sequence);
  return all;
}

}  // namespace switchyard
