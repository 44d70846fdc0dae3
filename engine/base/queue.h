// A bounded queue of values between many producers and one consumer.
// Producers never wait: a full queue refuses. The consumer may wait for work or a wake-up.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace switchyard {

template <typename T>
class Queue {
 public:
  explicit Queue(size_t capacity) : capacity_(capacity) {}

  // Any thread. False: full, the value was not taken.
  bool push(T value) {
    {
      std::lock_guard lock(mutex_);
      if (values_.size() >= capacity_) return false;
      values_.push_back(std::move(value));
    }
    ready_.notify_one();
    return true;
  }

  // Any thread. Ends a wait without a value, now or, if nobody waits, at the next wait.
  void wake() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    ready_.notify_one();
  }

  // Consumer. Everything queued, possibly nothing; never waits.
  std::vector<T> take_all() {
    std::lock_guard lock(mutex_);
    woken_ = false;
    return std::exchange(values_, {});
  }

  // Consumer. Waits until there is a value, a wake-up, or `timeout` has passed.
  void wait_for(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return woken_ || !values_.empty(); });
  }

 private:
  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<T> values_;  // guarded by mutex_
  bool woken_ = false;     // guarded by mutex_
};

}  // namespace switchyard
