// A backend in front of another whose layers can be made to hang or to take their time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/support/forwarding_backend.h"

namespace switchyard {

// What a test holds while the engine owns the backend. Any thread.
class Hang {
 public:
  void begin() {
    std::lock_guard lock(mutex_);
    hangs_ = true;
  }
  void end() {
    {
      std::lock_guard lock(mutex_);
      hangs_ = false;
    }
    ended_.notify_all();
  }
  void slow_down(std::chrono::milliseconds each) {
    std::lock_guard lock(mutex_);
    each_ = each;
  }

  // The op: returns at once, later, or when the hang ends.
  void pass() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return !hangs_; });
    const auto each = each_;
    lock.unlock();
    if (each.count() > 0) std::this_thread::sleep_for(each);
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool hangs_ = false;                // guarded by mutex_
  std::chrono::milliseconds each_{};  // guarded by mutex_
};

class HangingBackend final : public ForwardingBackend {
 public:
  HangingBackend(std::unique_ptr<Backend> inner, std::shared_ptr<Hang> hang)
      : ForwardingBackend(*inner), owned_(std::move(inner)), hang_(std::move(hang)) {}

 private:
  void do_attention(const AttentionArgs& args, const RaggedBatch& batch) override {
    hang_->pass();
    ForwardingBackend::do_attention(args, batch);
  }

  const std::unique_ptr<Backend> owned_;
  const std::shared_ptr<Hang> hang_;
};

}  // namespace switchyard
