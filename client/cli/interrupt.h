// Interrupts: Ctrl-C as a call on an ordinary thread, where locks and gRPC are allowed.
// Decides nothing about what a Ctrl-C means.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace switchyard {

class Interrupts {
 public:
  // Build it before any other thread exists: threads inherit the blocked SIGINT, so that only the
  // thread in here takes it. `on_interrupt` runs on that thread, once for each Ctrl-C.
  explicit Interrupts(std::function<void()> on_interrupt);
  ~Interrupts();  // joins; a Ctrl-C ends the process again
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  std::function<void()> on_interrupt_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace switchyard
