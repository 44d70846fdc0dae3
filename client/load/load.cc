#include "client/load/load.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/load/failure.h"
#include "client/load/token_counter.h"
#include "client/rpc/answer.h"

namespace switchyard {
namespace {

// Between the last preparations and a run's time 0.
constexpr std::chrono::milliseconds kLeadTime{20};

LoadSpec greedy(LoadSpec spec) {
  if (spec.check_greedy > 0) {
    for (ClassSpec& kind : spec.classes) kind.sampling.set_temperature(0);
  }
  return spec;
}

// The first token in which they differ; -1: they are equal.
int32_t first_difference(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return in_a == a.end() && in_b == b.end() ? -1 : static_cast<int32_t>(in_a - a.begin());
}

}  // namespace

absl::Status check(const SweepSpec& sweep) {
  constexpr double kMostRate = 1e6;
  if (!(sweep.lowest_rate > 0 && sweep.highest_rate <= kMostRate)) {
    return failure("sweep: rates must be in (0, ", kMostRate, "]");
  }
  if (!(sweep.lowest_rate < sweep.highest_rate)) {
    return failure("sweep: the lowest rate, ", sweep.lowest_rate, ", is not below the highest, ",
                   sweep.highest_rate);
  }
  if (!(sweep.seconds >= 1)) return failure("sweep: seconds of each run must be at least 1");
  if (!(sweep.precision >= 0.001 && sweep.precision <= 1)) {
    return failure("sweep: precision must be in [0.001, 1]");
  }
  if (sweep.most_runs < 2) return failure("sweep: at least 2 runs are needed");
  return absl::OkStatus();
}

Load::Load(LoadSpec spec, Targets& targets, const v1::Model& model)
    : spec_(greedy(std::move(spec))), targets_(targets), model_(model.name()) {
  space_.vocab_size = model.vocab_size();
  for (const int32_t token : model.eos_token_ids()) {
    if (token >= 0 && token < model.vocab_size()) space_.avoided.push_back(token);
  }
  std::sort(space_.avoided.begin(), space_.avoided.end());
  space_.avoided.erase(std::unique(space_.avoided.begin(), space_.avoided.end()),
                       space_.avoided.end());
}

absl::StatusOr<std::unique_ptr<Load>> Load::open(LoadSpec spec,
                                                 Targets& targets,
                                                 std::chrono::milliseconds ready_time) {
  if (absl::Status ready = targets.wait_until_ready(ready_time); !ready.ok()) return ready;
  const auto model = targets.model(spec.model);
  if (!model.ok()) return model.status();
  return std::unique_ptr<Load>(new Load(std::move(spec), targets, *model));
}

CountTokens Load::counter() {
  return [this](const std::vector<std::string_view>& texts) {
    return count_tokens(targets_, model_, texts, alone_);
  };
}

absl::Status Load::save(std::ostream& out) {
  auto plan = make_plan(spec_, space_, counter());
  if (!plan.ok()) return plan.status();
  return save_plan(*std::move(plan), spec_, out);
}

void Load::stop() {
  alone_.cancel();
  std::lock_guard lock(mutex_);
  stopping_ = true;
  if (driver_ != nullptr) driver_->stop();
}

bool Load::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

absl::StatusOr<LoadRun> Load::run() { return run_once(spec_, events_); }

absl::StatusOr<LoadRun> Load::run_once(const LoadSpec& spec,
                                       const std::vector<PlannedEvent>& events) {
  auto plan = make_plan(spec, space_, counter());
  if (!plan.ok()) return plan.status();
  Driver driver(spec, *std::move(plan), targets_, on_progress_);
  {
    std::lock_guard lock(mutex_);
    driver_ = &driver;
    if (stopping_) driver.stop();
  }
  const auto start = std::chrono::steady_clock::now() + kLeadTime;
  if (on_start_) on_start_(start);
  EventRunner event_runner(events, start);
  Driver::Result result = driver.run(start);
  {
    std::lock_guard lock(mutex_);
    driver_ = nullptr;
  }
  RunFacts& facts = result.run.facts;
  facts.events = event_runner.finish();
  facts.version = SWITCHYARD_VERSION;
  facts.commit = SWITCHYARD_COMMIT;
  facts.model = model_;
  facts.spec_json = to_json(spec).dump();
  if (spec.check_greedy > 0) facts.greedy = ask_alone(result.greedy_cases);
  return std::move(result.run);
}

std::vector<GreedyComparison> Load::ask_alone(const std::vector<GreedyCase>& cases) {
  std::vector<GreedyComparison> comparisons;
  for (const GreedyCase& asked : cases) {
    const AnswerOutcome alone = generate(*targets_.next().stub, asked.request, {}, {alone_, {}});
    if (!alone.status.ok()) {
      if (stopping()) break;
      continue;  // what was not answered is not compared
    }
    const std::vector<int32_t>& tokens = alone.answer.token_ids;
    comparisons.push_back({.number = asked.number,
                           .tokens = static_cast<int32_t>(tokens.size()),
                           .diverged_at = first_difference(tokens, asked.token_ids)});
  }
  return comparisons;
}

absl::StatusOr<SweepResult> Load::sweep(const SweepSpec& sweep, const Judge& judge) {
  if (absl::Status status = check(sweep); !status.ok()) return status;
  const auto* loop = std::get_if<OpenLoop>(&spec_.arrival);
  if (loop == nullptr || !spec_.trace.file.empty() || !spec_.replay_file.empty()) {
    return failure("sweep: needs an open loop without a trace or a replay");
  }
  SweepResult result;
  // False: stop the sweep.
  const auto visit = [&](double rate) -> absl::StatusOr<bool> {
    LoadSpec spec = spec_;
    std::get<OpenLoop>(spec.arrival).rate = std::vector{RatePiece{rate, rate, 1}};
    spec.requests = -1;
    spec.duration_seconds = sweep.seconds;
    spec.seed += result.points.size();
    if (spec.stop.saturation_seconds <= 0) spec.stop.saturation_seconds = sweep.seconds / 4;
    auto run = run_once(spec, {});
    if (!run.ok()) return run.status();
    SweepPoint point{.rate = rate, .run = *std::move(run), .verdict = {}};
    point.verdict = judge(point.run);
    const StopReason reason = point.run.facts.stop_reason;
    if (reason != StopReason::kDuration && reason != StopReason::kCount) {
      point.verdict = {.met = false, .why = point.run.facts.stop_detail};
    }
    if (point.verdict.met) result.best_rate = std::max(result.best_rate, rate);
    result.points.push_back(std::move(point));
    return reason != StopReason::kInterrupted;
  };
  double low = sweep.lowest_rate;
  double high = sweep.highest_rate;
  auto going = visit(low);
  if (!going.ok()) return going.status();
  if (!*going || result.best_rate == 0) return result;
  going = visit(high);
  if (!going.ok()) return going.status();
  result.at_the_limit = result.best_rate == high;
  while (*going && !result.at_the_limit && high / low > 1 + sweep.precision &&
         static_cast<int32_t>(result.points.size()) < sweep.most_runs) {
    const double middle = std::sqrt(low * high);
    going = visit(middle);
    if (!going.ok()) return going.status();
    (result.points.back().verdict.met ? low : high) = middle;
  }
  return result;
}

}  // namespace switchyard
