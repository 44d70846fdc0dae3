#include "client/load/load_plan.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "client/load/failure.h"
#include "client/load/synthetic.h"
#include "client/load/trace.h"
#include "client/load/words.h"
#include "client/load/workload_file.h"

namespace switchyard {
namespace {

// Requests in the order of their file, each with its time.
class TimedSource final : public ConversationSource {
 public:
  explicit TimedSource(std::vector<PlannedRequest> requests) : requests_(std::move(requests)) {}

  std::optional<Conversation> next() override {
    if (next_ == requests_.size()) return std::nullopt;
    return Conversation{std::move(requests_[next_++])};
  }

 private:
  std::vector<PlannedRequest> requests_;
  size_t next_ = 0;
};

absl::StatusOr<std::ifstream> open_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(words(path, ": cannot be opened"));
  return in;
}

Pace pace_of(const LoadSpec& spec) {
  if (const auto* open = std::get_if<OpenLoop>(&spec.arrival)) return *open;
  if (const auto* closed = std::get_if<ClosedLoop>(&spec.arrival)) return *closed;
  return OwnTimes{};
}

absl::StatusOr<LoadPlan> replay(const LoadSpec& spec) {
  auto in = open_file(spec.replay_file);
  if (!in.ok()) return in.status();
  auto saved = read_workload(*in, {});
  if (!saved.ok()) return within(spec.replay_file, saved.status());
  const bool paced = !std::holds_alternative<std::monostate>(spec.arrival);
  if (saved->timed) {
    if (paced) return failure("arrival: the saved workload has times of its own");
    return LoadPlan{std::make_unique<TimedSource>(std::move(saved->requests)), OwnTimes{},
                    saved->seed};
  }
  if (!paced) {
    return failure("arrival: is missing, and the saved workload has no times");
  }
  return LoadPlan{std::make_unique<SavedSource>(std::move(saved->requests)), pace_of(spec),
                  saved->seed};
}

}  // namespace

absl::StatusOr<LoadPlan> make_plan(const LoadSpec& spec,
                                   const TokenSpace& space,
                                   const CountTokens& count_tokens) {
  if (!spec.replay_file.empty()) return replay(spec);
  const MakerOptions options{.model = spec.model, .seed = spec.seed};
  if (!spec.prompts_file.empty()) {
    auto in = open_file(spec.prompts_file);
    if (!in.ok()) return in.status();
    auto file = read_prompts(*in, spec.classes, {});
    if (!file.ok()) return within(spec.prompts_file, file.status());
    const size_t needed = spec.requests >= 0 ? static_cast<size_t>(spec.requests) : SIZE_MAX;
    if (absl::Status status = count_recorded_answers(*file, needed, count_tokens); !status.ok()) {
      return status;
    }
    return LoadPlan{std::make_unique<PromptSource>(*std::move(file), spec.classes, options),
                    pace_of(spec), spec.seed};
  }
  if (space.vocab_size <= static_cast<int64_t>(space.avoided.size())) {
    return failure("the model's ", space.vocab_size, " tokens leave none for synthetic prompts");
  }
  if (!spec.trace.file.empty()) {
    auto in = open_file(spec.trace.file);
    if (!in.ok()) return in.status();
    auto lines = read_trace(*in, spec.trace.block_tokens, {});
    if (!lines.ok()) return within(spec.trace.file, lines.status());
    return LoadPlan{
        std::make_unique<TraceSource>(
            *std::move(lines), TraceSource::Setting{spec.trace, spec.classes[0], space, options}),
        OwnTimes{}, spec.seed};
  }
  return LoadPlan{std::make_unique<SyntheticSource>(spec.classes, space, options), pace_of(spec),
                  spec.seed};
}

RequestStream::RequestStream(LoadPlan& plan, const LoadSpec& spec)
    : source_(*plan.source),
      seats_(static_cast<size_t>(spec.conversations_at_once)),
      left_(spec.requests >= 0 ? spec.requests : INT64_MAX),
      end_ns_(spec.duration_seconds >= 0 ? std::llround(spec.duration_seconds * 1e9) : INT64_MAX) {
  if (const auto* open = std::get_if<OpenLoop>(&plan.pace)) {
    arrivals_.emplace(*open, spec.seed);
  } else {
    seats_.resize(1);  // the order is the source's
  }
}

std::optional<PlannedRequest> RequestStream::deal() {
  // A finite source leaves seats empty at its end.
  for (size_t tried = 0; tried < seats_.size(); ++tried) {
    Seat& seat = seats_[seat_];
    seat_ = (seat_ + 1) % seats_.size();
    if (seat.next == seat.turns.size()) {
      std::optional<Conversation> conversation = source_.next();
      if (!conversation) continue;
      seat = {.turns = *std::move(conversation), .next = 0};
    }
    return std::move(seat.turns[seat.next++]);
  }
  return std::nullopt;
}

std::nullopt_t RequestStream::end_by_time() {
  left_ = 0;
  out_of_time_ = true;
  return std::nullopt;
}

std::optional<PlannedRequest> RequestStream::next() {
  if (left_ == 0) return std::nullopt;
  std::optional<int64_t> at;
  if (arrivals_) {
    at = arrivals_->next();
    if (!at) return std::nullopt;
    if (*at >= end_ns_) return end_by_time();
  }
  std::optional<PlannedRequest> planned = deal();
  if (!planned) return std::nullopt;
  if (at) planned->at_ns = *at;
  if (planned->at_ns >= end_ns_) return end_by_time();
  --left_;
  return planned;
}

absl::Status save_plan(LoadPlan plan, const LoadSpec& spec, std::ostream& out) {
  WorkloadWriter writer(out, plan.seed);
  if (!std::holds_alternative<ClosedLoop>(plan.pace)) {
    RequestStream stream(plan, spec);
    while (const auto planned = stream.next()) writer.add(*planned);
  } else {
    const bool endless = spec.requests < 0 && spec.replay_file.empty();
    if (endless) {
      return failure(
          "requests: is missing; without it a closed loop's workload has no end to save");
    }
    int64_t left = spec.requests >= 0 ? spec.requests : INT64_MAX;
    while (left > 0) {
      const auto conversation = plan.source->next();
      if (!conversation) break;
      for (const PlannedRequest& planned : *conversation) {
        if (left-- > 0) writer.add(planned);
      }
    }
  }
  if (!out.flush()) return absl::DataLossError("the workload could not be written");
  return absl::OkStatus();
}

}  // namespace switchyard
