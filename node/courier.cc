#include "node/courier.h"

#include <limits>

#include "kernels/base/check.h"

namespace switchyard {
namespace {

constexpr Duration kReaderCheckInterval = std::chrono::milliseconds(100);

}  // namespace

Courier::Courier(const Clock& clock)
    : clock_(clock), woken_(std::numeric_limits<size_t>::max()), thread_([this] { run(); }) {}

Courier::~Courier() {
  CHECK(calls_.empty());
  stopping_ = true;
  woken_.wake();
  thread_.join();
}

void Courier::wake(Call& call) { CHECK(woken_.push(&call)); }

void Courier::add(Call& call) {
  std::lock_guard lock(mutex_);
  calls_.insert(&call);
}

void Courier::remove(Call& call) {
  std::lock_guard lock(mutex_);
  calls_.erase(&call);
}

size_t Courier::open_calls() const {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

void Courier::run() {
  TimePoint next_check = clock_.now() + kReaderCheckInterval;
  while (!stopping_) {
    woken_.wait_for(kReaderCheckInterval);
    for (Call* call : woken_.take_all()) call->advance();
    if (const TimePoint now = clock_.now(); now >= next_check) {
      next_check = now + kReaderCheckInterval;
      std::lock_guard lock(mutex_);
      for (Call* call : calls_) call->check_reader(now);
    }
  }
}

}  // namespace switchyard
