// SIGTERM and SIGINT as something to wait for. Nothing runs in a signal handler: the signals are
// blocked and a thread takes them.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace switchyard {

class StopSignals {
 public:
  // Make it before any other thread: they inherit the blocked signals. The first signal ends
  // wait(); the second ends the process at once. `on_first` runs on the thread that takes signals.
  explicit StopSignals(std::function<void()> on_first);
  ~StopSignals();

  void wait();

 private:
  void run();

  const std::function<void()> on_first_;
  std::mutex mutex_;
  std::condition_variable came_;
  bool has_come_ = false;  // guarded by mutex_
  bool closing_ = false;   // guarded by mutex_
  std::thread thread_;
};

}  // namespace switchyard
