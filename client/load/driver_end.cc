// The driver's ends: looks at how the run goes, stops it for a reason, and cuts what is left.

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/load/driver.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int64_t kBetweenLooksNs = 250'000'000;
constexpr int64_t kFewestEnded = 20;  // before a share of errors means anything

}  // namespace

void Driver::look(int64_t now_ns) {
  next_look_ns_ = now_ns + kBetweenLooksNs;
  const int64_t tokens = answer_tokens_.load(std::memory_order_relaxed);
  if (std::exchange(last_tokens_, tokens) != tokens) last_event_ns_ = now_ns;
  const LoadSample sample{.at_ns = now_ns,
                          .sent = sent_,
                          .ended = book_.ended(),
                          .answer_tokens = tokens,
                          .in_flight = static_cast<int32_t>(in_flight_.size()),
                          .held_back = static_cast<int32_t>(held_back_.size())};
  book_.sample(sample);
  if (on_progress_) {
    on_progress_({.now = sample,
                  .failed = book_.failed(),
                  .requests = spec_.requests,
                  .duration_ns = end_ns_ == INT64_MAX ? -1 : end_ns_},
                 first_tokens_);
  }
  if (stopped_) return;
  const auto ended = static_cast<double>(book_.ended());
  const auto failed = static_cast<double>(book_.failed());
  if (book_.ended() >= kFewestEnded && failed > spec_.stop.most_errors * ended) {
    stop_sending(StopReason::kErrors,
                 words(book_.failed(), " of ", book_.ended(), " requests failed, limit ",
                       spec_.stop.most_errors * 100, " %"));
    cut();
  } else if (saturation_.add(now_ns, static_cast<double>(in_flight_.size() + held_back_.size()))) {
    stop_sending(StopReason::kSaturated,
                 words("requests in flight rose to ", in_flight_.size() + held_back_.size(),
                       " within ", spec_.stop.saturation_seconds, " s"));
    cut();
  }
}

void Driver::stop_sending(StopReason reason, std::string detail) {
  stopped_ = true;
  book_.facts().stop_reason = reason;
  book_.facts().stop_detail = std::move(detail);
  next_arrival_.reset();
  book_.facts().unsent_turns += std::exchange(sends_scheduled_, 0);
  for (auto& [number, talk] : talks_) {
    book_.facts().unsent_turns += static_cast<int64_t>(talk.parked.size());
    talk.parked.clear();
  }
}

void Driver::cut() {
  cutting_ = true;
  if (!stopped_) {
    std::string detail = words(in_flight_.size() + held_back_.size(),
                               " requests were cut at the end of the time of grace");
    stop_sending(reason_of_end(), std::move(detail));
  }
  for (Due& due : held_back_) {
    due.record.cut = true;
    book_.end(std::move(due.record));
  }
  held_back_.clear();
  std::vector<int64_t> between_attempts;
  for (auto& [number, due] : in_flight_) {
    if (!due.call) {
      due.record.cut = true;
      between_attempts.push_back(number);
      continue;
    }
    due.call->cancel();
    if (std::exchange(due.paused, false)) due.call->resume();
  }
  for (const int64_t number : between_attempts) finish(number);
}

int64_t Driver::cut_time_ns() const {
  const int64_t grace_ns = std::llround(spec_.grace_seconds * 1e9);
  if (end_ns_ != INT64_MAX) return end_ns_ + grace_ns;
  if (next_arrival_ || sends_scheduled_ > 0) return INT64_MAX;
  return last_event_ns_ + grace_ns;
}

bool Driver::nothing_left() const {
  return !next_arrival_ && sends_scheduled_ == 0 && held_back_.empty() && in_flight_.empty();
}

void Driver::wait(int64_t until_ns) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, clock_.at(until_ns), [&] { return !news_.empty() || stop_requested_; });
}

StopReason Driver::reason_of_end() const {
  return out_of_time_ ? StopReason::kDuration : StopReason::kCount;
}

}  // namespace switchyard
