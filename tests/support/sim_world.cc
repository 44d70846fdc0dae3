// A scheduler at work under a seed, and what must always hold.
#include "tests/support/sim_world.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

namespace {

int between(std::mt19937_64& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

SequenceMemorySize random_size(std::mt19937_64& random) {
  return {.blocks = 1 + between(random, 4, 40),
          .block_tokens = 1 << between(random, 0, 4),
          .state_slots = 1 + between(random, 1, 8)};
}

SchedulerLimits random_limits(std::mt19937_64& random) {
  const int rows = between(random, 1, 10);
  SchedulerLimits limits{.max_batch_tokens = rows + between(random, 0, 60), .max_batch_rows = rows};
  limits.max_step_edits = kSimVocabulary + between(random, 0, kSimVocabulary);
  return limits;
}

RequestLimits limits_of(const SequenceMemorySize& size) {
  return {.vocab_size = kSimVocabulary,
          .context_tokens = 90,
          .kv_tokens = int64_t{size.blocks - 1} * size.block_tokens,
          .eos_tokens = {kSimEos}};
}

}  // namespace

SimWorld::SimWorld(uint64_t seed, SimSteps steps)
    : random_(seed),
      size_(random_size(random_)),
      limits_(random_limits(random_)),
      request_limits_(limits_of(size_)),
      memory_(size_),
      device_(size_),
      builder_({.max_tokens = limits_.max_batch_tokens + 4,
                .max_rows = limits_.max_batch_rows + 4,
                .max_blocks_per_row = size_.blocks,
                .block_tokens = size_.block_tokens,
                .max_edits = limits_.max_step_edits}),
      scheduler_(
          limits_, seed % 2 == 0 ? admit_if_it_fits : admit_with_room_to_grow, memory_, clock_),
      overlap_(steps == SimSteps::kOverlapped),
      penalties_(seed % 3 == 0) {}

int SimWorld::number(int low, int high) { return between(random_, low, high); }

SimReport SimWorld::run(int questions) {
  while (report_.asked < questions || !scheduler_.idle()) {
    const int arriving = chance(3) ? number(0, 4) : 0;
    for (int i = 0; i < arriving && report_.asked < questions; ++i) ask();
    cancel_some(150);
    if (scheduler_.idle()) continue;
    step();
    CHECK(report_.steps <= steps_allowed_);
  }
  CHECK(asked_.empty() && !in_flight_);
  CHECK(memory_.blocks().free() == memory_.blocks().total());
  CHECK(memory_.states().free() == memory_.states().total());
  return report_;
}

RequestFields SimWorld::random_question() {
  RequestFields fields;
  fields.id = RequestId{++last_id_};
  fields.prompt.resize(static_cast<size_t>(chance(4) ? number(30, 80) : number(1, 20)));
  for (int32_t& token : fields.prompt) token = number(0, kSimVocabulary - 1);
  fields.sampling.seed = random_();
  if (penalties_ && chance(4)) fields.sampling.frequency_penalty = 1;
  // Many edits, of no effect here.
  if (penalties_ && chance(6)) fields.sampling.repetition_penalty = 2;
  fields.stop.max_new_tokens = number(1, 50);
  if (chance(4)) fields.stop.min_new_tokens = number(1, fields.stop.max_new_tokens);
  if (chance(4)) fields.stop.stop_tokens = {number(0, kSimVocabulary - 1)};
  fields.stop.ignore_eos = chance(2);
  fields.stop.include_stop = chance(2);
  while (chance(3)) {
    std::string stop(static_cast<size_t>(number(2, 5)), 'a');
    for (char& letter : stop) letter = static_cast<char>('a' + number(0, 3));
    fields.stop.stop_strings.push_back(stop);
  }
  if (chance(3)) fields.priority = number(-3, 3);
  fields.arrival = clock_.now();
  if (chance(10)) fields.deadline = clock_.now() + std::chrono::milliseconds(number(0, 2000));
  return fields;
}

void SimWorld::ask() {
  auto sink = std::make_shared<RecordingSink>();
  RequestFields fields = random_question();
  fields.sink = sink;
  const RequestId id = fields.id;
  ++report_.asked;
  Result<Request> request = Request::make(std::move(fields), request_limits_);
  if (!request.ok()) {
    CHECK(request.status().code() == Code::kFailedPrecondition);
    ++report_.never_fitting;
    return;
  }
  // Each step brings the first by rank at least one token further. A later question of a higher
  // rank can make it wait, but not lose what it is worth: hence twice. Overlapped, every other plan
  // may be empty.
  const auto prompt_tokens = static_cast<int64_t>(request->fields().prompt.size());
  steps_allowed_ += (overlap_ ? 4 : 2) * (prompt_tokens + request->fields().stop.max_new_tokens);
  asked_.emplace(id, Asked{.request = *request, .sink = sink});
  scheduler_.add(*std::move(request), sim_text());
}

void SimWorld::cancel_some(int one_in) {
  for (auto& [id, asked] : asked_) {
    if (asked.cancelled || !chance(one_in)) continue;
    asked.cancelled = true;
    scheduler_.cancel(id, Status(Code::kCancelled, "simulated"), clock_.now());
  }
  scheduler_.cancel(RequestId{~0u}, Status(Code::kCancelled, "unknown"), clock_.now());
}

void SimWorld::step() {
  ++report_.steps;
  const int free_before = memory_.blocks().free();
  StepPlan plan = scheduler_.plan();
  CHECK(memory_.blocks().free() == free_before);
  check_plan(plan);
  const StepCounts counts = counts_of(plan);
  report_.preempted += counts.preempted;
  report_.recomputed_tokens += counts.recomputed_tokens;

  hand_out({.deltas = {}, .ends = scheduler_.commit(plan)});
  check_memory();
  check_in_flight(plan);
  check_cancelled_are_gone();
  clock_.advance(std::chrono::milliseconds(number(0, 50)));
  std::optional<Launched> launched;
  if (plan.computes()) launched = launch(std::move(plan));
  if (overlap_) std::swap(launched, in_flight_);
  if (launched) finish(*launched);
}

SimWorld::Launched SimWorld::launch(StepPlan plan) {
  PaddedCounts padded = exact_counts(plan);
  const int padding = number(0, 4);
  padded.tokens += padding;
  padded.rows += padding;
  padded.logits += number(0, padding);
  device_.launch(builder_.build(plan, padded));

  Launched launched{.plan = std::move(plan), .blocks = {}, .slots = {}};
  for (const PlannedRow& row : launched.plan.rows) {
    report_.drawn_ahead += row.drawn_in_row >= 0 ? 1 : 0;
    const auto blocks = row.sequence->lease().blocks();
    launched.blocks.emplace_back(blocks.begin(), blocks.end());
    launched.slots.push_back(row.sequence->lease().state());
  }
  return launched;
}

void SimWorld::finish(const Launched& launched) {
  check_still_leased(launched);
  const std::vector<int32_t> drawn = device_.collect();
  const int cancelled_before = report_.cancelled;
  cancel_some(200);
  for (const Sequence* sequence : scheduler_.leaving()) {
    report_.wasted_rows += std::ranges::any_of(
        launched.plan.rows, [&](const PlannedRow& row) { return row.sequence == sequence; });
  }
  const StepTokens tokens{.token = drawn, .logprob = {}, .top_token = {}, .top_logprob = {}};
  StepOutcome outcome = scheduler_.finish(launched.plan, tokens);
  report_.freed_later += static_cast<int>(outcome.freed.size());
  hand_out(std::move(outcome));
  report_.cancelled_in_flight += report_.cancelled - cancelled_before;
  for (const Sequence* sequence : scheduler_.sequences()) {
    CHECK(in_flight_ || sequence->in_flight_tokens() == 0);
  }
  check_memory();
}

// What the device is about to write was not given to anybody else meanwhile.
void SimWorld::check_still_leased(const Launched& launched) const {
  for (size_t i = 0; i < launched.plan.rows.size(); ++i) {
    const MemoryLease& lease = launched.plan.rows[i].sequence->lease();
    CHECK(lease.state() == launched.slots[i]);
    CHECK(lease.blocks().size() >= launched.blocks[i].size());
    CHECK(std::equal(launched.blocks[i].begin(), launched.blocks[i].end(), lease.blocks().begin()));
  }
}

void SimWorld::hand_out(StepOutcome outcome) {
  for (AnswerStep& step : outcome.deltas) step.sink->on_delta(std::move(step.delta));
  for (AnswerEnd& end : outcome.ends) {
    const auto asked = asked_.find(end.id);
    CHECK(asked != asked_.end());  // nobody ends twice
    check_answer(asked->second, end);
    end.sink->on_end(std::move(end.end));
    CHECK(asked->second.sink->ends.size() == 1);
    asked_.erase(asked);
  }
}

void SimWorld::check_answer(const Asked& asked, const AnswerEnd& end) {
  const SimAnswer alone = answer_alone(asked.request);
  const RecordingSink& got = *asked.sink;
  CHECK(end.end.usage.completion_tokens == static_cast<int>(got.tokens.size()));
  CHECK(asked.cancelled || !end.cancel_to_free.has_value());
  report_.freed_at_end += end.cancel_to_free.has_value() ? 1 : 0;
  CHECK(got.tokens.size() <= alone.tokens.size());
  CHECK(std::equal(got.tokens.begin(), got.tokens.end(), alone.tokens.begin()));
  CHECK(got.text == alone.text.substr(0, got.text.size()));
  CHECK(end.end.status.ok() == (end.end.reason != FinishReason::kError));
  if (asked.cancelled) {
    CHECK(end.end.status.code() == Code::kCancelled);
    ++report_.cancelled;
  } else if (end.end.status.code() == Code::kDeadlineExceeded) {
    CHECK(clock_.now() >= asked.request.fields().deadline);
    ++report_.late;
  } else {
    CHECK(end.end.reason == alone.reason);
    CHECK(got.tokens == alone.tokens);
    if (end.end.status.code() == Code::kInternal) {
      ++report_.failed_draws;
    } else {
      CHECK(got.text == alone.text);
      ++report_.answered;
    }
  }
}

void SimWorld::check_memory() const {
  std::set<BlockId> blocks;
  std::set<StateSlot> slots;
  size_t leased_blocks = 0;
  size_t leased_slots = 0;
  std::vector<const Sequence*> holders = scheduler_.sequences();
  for (const Sequence* sequence : scheduler_.leaving()) {
    CHECK(overlap_ && sequence->in_flight_tokens() > 0);
    holders.push_back(sequence);
  }
  for (const Sequence* sequence : holders) {
    const MemoryLease& lease = sequence->lease();
    blocks.insert(lease.blocks().begin(), lease.blocks().end());
    leased_blocks += lease.blocks().size();
    if (lease.holds_state()) slots.insert(lease.state());
    leased_slots += lease.holds_state() ? 1 : 0;
    CHECK(sequence->running() == lease.holds_state());
    CHECK(sequence->running() || lease.blocks().empty());
  }
  CHECK(blocks.size() == leased_blocks && !blocks.contains(kSinkBlock));
  CHECK(slots.size() == leased_slots && !slots.contains(kSinkSlot));
  CHECK(memory_.blocks().free() + static_cast<int>(leased_blocks) == memory_.blocks().total());
  CHECK(memory_.states().free() + static_cast<int>(leased_slots) == memory_.states().total());
}

void SimWorld::check_rows(const StepPlan& plan) const {
  int tokens = 0;
  size_t edits = 0;
  for (const PlannedRow& row : plan.rows) {
    const Sequence& sequence = *row.sequence;
    CHECK(!sequence.waits_for_draw());
    CHECK(row.count > 0 && row.count <= sequence.pending_tokens());
    CHECK(row.first_token == sequence.computed_tokens() + sequence.in_flight_tokens());
    CHECK(row.wants_logits == (row.count == sequence.pending_tokens()));
    const int known = static_cast<int>(sequence.tokens().size());
    CHECK((row.drawn_in_row >= 0) == (row.first_token + row.count > known));
    CHECK(row.drawn_in_row < 0 || (in_flight_ && row.count == 1));
    tokens += row.count;
    if (row.wants_logits) edits += sequence.edits().size();
  }
  CHECK(tokens <= limits_.max_batch_tokens);
  CHECK(plan.rows.size() <= static_cast<size_t>(limits_.max_batch_rows));
  CHECK(edits <= static_cast<size_t>(limits_.max_step_edits));
}

void SimWorld::check_plan(const StepPlan& plan) {
  check_rows(plan);
  std::set<const Sequence*> rows;
  for (const PlannedRow& row : plan.rows) CHECK(rows.insert(row.sequence).second);
  CHECK(plan.preempts.empty() || !in_flight_);  // its memory would not be back
  // Whoever needs what the step in flight holds or draws waits for it, and everybody with him.
  const bool waits_for_step = in_flight_ && plan.rows.empty();
  report_.empty_plans += waits_for_step ? 1 : 0;

  std::set<const Sequence*> gone(plan.preempts.begin(), plan.preempts.end());
  for (const PlannedEnd& end : plan.ends) gone.insert(end.sequence);
  for (const Sequence* sequence : gone) CHECK(!rows.contains(sequence));
  const std::set<const Sequence*> admitted(plan.admits.begin(), plan.admits.end());
  bool is_first = true;
  bool somebody_waits = false;
  bool edits_waited = false;
  for (const Sequence* sequence : scheduler_.sequences()) {
    const bool ends = sequence->due_end(clock_.now()).has_value();
    CHECK(!ends || gone.contains(sequence));
    CHECK(!admitted.contains(sequence) || !somebody_waits);
    CHECK(!admitted.contains(sequence) || rows.contains(sequence) || !sequence->edits().empty());
    somebody_waits |= !ends && (gone.contains(sequence) ||
                                (!sequence->running() && !admitted.contains(sequence)));
    if (ends || !sequence->running()) continue;
    const bool must_run = !waits_for_step && !sequence->waits_for_draw();
    CHECK(!is_first || !must_run || rows.contains(sequence));  // forward progress
    const bool decodes = sequence->pending_tokens() == 1;
    if (decodes && must_run && !rows.contains(sequence) && !gone.contains(sequence)) {
      CHECK(!sequence->edits().empty());
      edits_waited = true;
    }
    is_first = false;
  }
  report_.edit_waits += edits_waited ? 1 : 0;
  CHECK(scheduler_.idle() || plan.computes() || !plan.ends.empty() || in_flight_);
}

void SimWorld::check_in_flight(const StepPlan& plan) const {
  std::map<const Sequence*, int> planned;
  for (const PlannedRow& row : plan.rows) planned[row.sequence] += row.count;
  if (in_flight_) {
    for (const PlannedRow& row : in_flight_->plan.rows) planned[row.sequence] += row.count;
  }
  for (const Sequence* sequence : scheduler_.sequences()) {
    const auto row = planned.find(sequence);
    CHECK(sequence->in_flight_tokens() == (row == planned.end() ? 0 : row->second));
    const int held_tokens =
        static_cast<int>(sequence->lease().blocks().size()) * size_.block_tokens;
    CHECK(sequence->computed_tokens() + sequence->in_flight_tokens() <= held_tokens);
  }
}

void SimWorld::check_cancelled_are_gone() const {
  for (const auto& [id, asked] : asked_) CHECK(!asked.cancelled);
}

}  // namespace switchyard
