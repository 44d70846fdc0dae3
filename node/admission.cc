#include "node/admission.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace switchyard {
namespace {

constexpr std::chrono::milliseconds kDrainingRetry{1000};

// How long the queue's head has waited tells how slowly the queue moves.
std::chrono::milliseconds retry_after(const EngineLoad& load) {
  using std::chrono::milliseconds;
  return std::clamp(std::chrono::duration_cast<milliseconds>(load.oldest_wait), milliseconds(100),
                    milliseconds(5000));
}

}  // namespace

Admission::Admission(AdmissionLimits limits, const Clock& clock, std::function<EngineLoad()> load)
    : limits_(limits), clock_(clock), load_(std::move(load)) {}

Status Admission::check(const EngineLoad& load, TimePoint deadline) const {
  if (draining()) {
    return Status::busy(Code::kUnavailable, "DRAINING", kDrainingRetry, "this node is draining");
  }
  if (clock_.now() >= deadline) {
    return Status(Code::kDeadlineExceeded, "the deadline had passed on arrival")
        .with_reason("DEADLINE");
  }
  if (load.waiting >= limits_.queue) {
    return Status::busy(Code::kResourceExhausted, "QUEUE_FULL", retry_after(load), load.waiting,
                        " requests wait, limit ", limits_.queue);
  }
  if (load.oldest_wait > limits_.queue_age) {
    return Status::busy(Code::kResourceExhausted, "QUEUE_AGE", retry_after(load),
                        "a request has waited ", seconds(load.oldest_wait), " s, limit ",
                        seconds(limits_.queue_age), " s");
  }
  return {};
}

Status Admission::enter(TimePoint deadline) const { return check(load_(), deadline); }

Status Admission::submit(int64_t prompt_tokens,
                         TimePoint deadline,
                         const std::function<Status()>& submit) {
  std::lock_guard submitting(submit_mutex_);
  const EngineLoad load = load_();
  if (Status status = check(load, deadline); !status.ok()) return status;
  const int64_t waiting = waiting_tokens_;
  if (waiting > 0 && prompt_tokens > limits_.queue_tokens - waiting) {
    return Status::busy(Code::kResourceExhausted, "TOKEN_BUDGET", retry_after(load), waiting,
                        " prompt tokens wait and this prompt has ", prompt_tokens, ", limit ",
                        limits_.queue_tokens);
  }
  // Counted before the engine has it: its end may come before submit() returns. And the time before
  // the count: who sees the one sees the other.
  waiting_tokens_ += prompt_tokens;
  if (in_flight_ == 0) busy_since_ = clock_.now();
  ++in_flight_;
  Status status = submit();
  if (!status.ok()) {
    on_prompt_done(prompt_tokens);
    on_end();
  }
  return status;
}

void Admission::on_prompt_done(int64_t prompt_tokens) {
  CHECK((waiting_tokens_ -= prompt_tokens) >= 0);
}

void Admission::on_end() { CHECK(--in_flight_ >= 0); }

void Admission::drain() { draining_ = true; }

bool Admission::draining() const { return draining_; }

int Admission::in_flight() const { return in_flight_; }

std::optional<TimePoint> Admission::busy_since() const {
  if (in_flight_ == 0) return std::nullopt;
  return busy_since_;
}

}  // namespace switchyard
