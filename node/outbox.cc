#include "node/outbox.h"

#include <iterator>
#include <utility>

namespace switchyard {

void merge(AnswerDelta& into, AnswerDelta&& later) {
  into.tokens.insert(into.tokens.end(), later.tokens.begin(), later.tokens.end());
  into.text += later.text;
  into.logprobs.insert(into.logprobs.end(), std::make_move_iterator(later.logprobs.begin()),
                       std::make_move_iterator(later.logprobs.end()));
}

void Outbox::observe(const AnswerDelta& delta) {
  if (delta.tokens.empty()) return;
  const TimePoint now = around_.clock.now();
  const auto count = static_cast<int>(delta.tokens.size());
  if (!last_delta_) {
    around_.metrics.on_first_token(now - around_.arrival);
    hooks_.on_prompt_done();
  } else {
    around_.metrics.on_tokens(now - *last_delta_, count);
  }
  last_delta_ = now;
  around_.metrics.generation_tokens += static_cast<uint64_t>(count);
}

void Outbox::on_delta(AnswerDelta delta) {
  observe(delta);
  std::unique_lock lock(mutex_);
  if (abandoned_) return;
  if (deltas_.size() < kMaxDeltas) {
    deltas_.push_back(std::move(delta));
  } else {
    merge(deltas_.back(), std::move(delta));
    ++around_.metrics.coalesced_deltas;
    if (!full_since_) full_since_ = around_.clock.now();
  }
  wake_reader(std::move(lock));
}

void Outbox::on_end(EndOfAnswer end) {
  if (!last_delta_) hooks_.on_prompt_done();
  hooks_.on_end();
  std::unique_lock lock(mutex_);
  CHECK(!end_);
  if (abandoned_) {
    end.reason = FinishReason::kError;
    end.status = *abandoned_;
  }
  end_ = std::move(end);
  wake_reader(std::move(lock));
}

Outbox::Item Outbox::take() {
  std::lock_guard lock(mutex_);
  CHECK(awake_);
  if (full_since_) {
    around_.metrics.add_backpressure(around_.clock.now() - *full_since_);
    full_since_.reset();
  }
  if (!deltas_.empty()) {
    AnswerDelta delta = std::move(deltas_.front());
    deltas_.pop_front();
    return delta;
  }
  if (end_) return *end_;
  awake_ = false;
  return std::monostate();
}

void Outbox::abandon(Status why) {
  std::lock_guard lock(mutex_);
  if (abandoned_) return;
  deltas_.clear();
  if (end_) {
    end_->reason = FinishReason::kError;
    end_->status = why;
  }
  abandoned_ = std::move(why);
}

void Outbox::wake_reader(std::unique_lock<std::mutex> lock) {
  if (std::exchange(awake_, true)) return;
  lock.unlock();
  hooks_.wake();
}

}  // namespace switchyard
