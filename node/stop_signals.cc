#include "node/stop_signals.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>
#include <utility>

namespace switchyard {
namespace {

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

StopSignals::StopSignals(std::function<void()> on_first) : on_first_(std::move(on_first)) {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this] { run(); });
}

StopSignals::~StopSignals() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  // To that thread alone, which has it blocked: wakes its sigwait.
  pthread_kill(thread_.native_handle(), SIGTERM);  // NOLINT(bugprone-bad-signal-to-kill-thread)
  thread_.join();
}

void StopSignals::run() {
  const sigset_t signals = stop_signals();
  while (true) {
    int signal = 0;
    sigwait(&signals, &signal);
    {
      std::lock_guard lock(mutex_);
      if (closing_) return;
      if (std::exchange(has_come_, true)) std::_Exit(128 + signal);
    }
    came_.notify_all();
    on_first_();
  }
}

void StopSignals::wait() {
  std::unique_lock lock(mutex_);
  came_.wait(lock, [this] { return has_come_; });
}

}  // namespace switchyard
