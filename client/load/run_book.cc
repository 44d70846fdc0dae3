#include "client/load/run_book.h"

#include <grpcpp/support/status.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/load/random.h"

namespace switchyard {
namespace {

int64_t to_ns(double seconds) { return std::llround(seconds * 1e9); }

Lateness lateness_of(const std::vector<RequestRecord>& records) {
  std::vector<int64_t> late;
  for (const RequestRecord& record : records) {
    if (record.sent_ns < 0 || record.held_back) continue;
    late.push_back(std::max<int64_t>(0, record.sent_ns - record.intended_ns));
  }
  Lateness lateness;
  lateness.sends = static_cast<int64_t>(late.size());
  if (late.empty()) return lateness;
  std::sort(late.begin(), late.end());
  const auto on_time = std::upper_bound(late.begin(), late.end(), Lateness::kLateNs);
  lateness.late_sends = late.end() - on_time;
  lateness.median_ns = late[late.size() / 2];
  lateness.p99_ns = late[late.size() * 99 / 100];
  lateness.worst_ns = late.back();
  return lateness;
}

}  // namespace

bool ended_as_meant(const RequestRecord& record) {
  if (record.cut) return true;  // nobody's failure
  if (record.fault == LoadFault::kMalformed) {
    return record.code == grpc::StatusCode::INVALID_ARGUMENT;
  }
  if (record.code == grpc::StatusCode::OK) return true;
  return (record.fault == LoadFault::kCancel && record.code == grpc::StatusCode::CANCELLED) ||
         (record.fault == LoadFault::kDeadline &&
          record.code == grpc::StatusCode::DEADLINE_EXCEEDED);
}

RunBook::RunBook(const LoadSpec& spec) : spec_(spec) {
  facts_.warmup_ns = to_ns(spec.warmup_seconds);
  facts_.max_in_flight = spec.max_in_flight;
}

RequestRecord RunBook::begin(const PlannedRequest& planned, int64_t intended_ns) {
  RequestRecord record;
  record.number = begun();
  record.class_name = planned.class_name;
  if (planned.turn > 0 || !planned.last_turn) record.session = planned.conversation;
  record.turn = planned.turn;
  record.priority = planned.request.priority();
  record.fault = planned.fault.kind;
  record.wanted_answer_tokens = planned.answer_tokens;
  record.intended_ns = intended_ns;
  records_.push_back(record);
  return record;
}

void RunBook::end(RequestRecord record) {
  ++ended_;
  if (!ended_as_meant(record)) ++failed_;
  if (record.held_back) ++facts_.held_back;
  const auto number = static_cast<size_t>(record.number);
  records_[number] = std::move(record);
}

void RunBook::offer(int64_t number, const v1::GenerateRequest& request, const Answer& answer) {
  if (spec_.check_greedy == 0) return;
  const uint64_t draw = Random(spec_.seed, Draw::kSample, {static_cast<uint64_t>(number)}).next();
  const auto limit = static_cast<size_t>(spec_.check_greedy);
  if (chosen_.size() == limit && draw > chosen_.rbegin()->first) return;
  chosen_[draw] = {number, request, answer.token_ids};
  if (chosen_.size() > limit) chosen_.erase(std::prev(chosen_.end()));
}

void RunBook::mark_measured() {
  for (const RequestRecord& record : records_) {
    facts_.last_intended_ns = std::max(facts_.last_intended_ns, record.intended_ns);
  }
  const bool whole = facts_.stop_reason == StopReason::kDuration && spec_.duration_seconds >= 0;
  const int64_t end = whole ? to_ns(spec_.duration_seconds) : facts_.last_intended_ns + 1;
  facts_.measured_from_ns = facts_.warmup_ns;
  facts_.measured_to_ns = std::max(facts_.measured_from_ns, end - to_ns(spec_.cooldown_seconds));
  for (RequestRecord& record : records_) {
    record.measured =
        record.intended_ns >= facts_.measured_from_ns && record.intended_ns < facts_.measured_to_ns;
  }
}

LoadRun RunBook::close(int64_t wall_ns, std::vector<GreedyCase>& greedy_cases) {
  facts_.wall_ns = wall_ns;
  mark_measured();
  facts_.lateness = lateness_of(records_);
  for (auto& [draw, kept] : chosen_) greedy_cases.push_back(std::move(kept));
  return {.facts = std::move(facts_), .records = std::move(records_)};
}

}  // namespace switchyard
