// Courier: the thread that takes answers from their outboxes to the network, so that the step
// thread never makes a system call for a reader, and that notices readers who have stopped reading.
// Knows nothing of gRPC: a call is something that can advance and be asked whether it is stuck.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/queue.h"

namespace switchyard {

class Courier {
 public:
  class Call {
   public:
    virtual ~Call() = default;
    // Sends the next thing, if there is one. On the courier's thread.
    virtual void advance() = 0;
    // Must not call back into the courier. On the courier's thread.
    virtual void check_reader(TimePoint now) = 0;
  };

  explicit Courier(const Clock& clock);
  ~Courier();  // no call is registered any more

  // Any thread. A call is woken at most once until its advance() begins, and is registered from
  // before its first wake until after its last advance().
  void wake(Call& call);
  void add(Call& call);
  void remove(Call& call);
  [[nodiscard]] size_t open_calls() const;

 private:
  void run();

  const Clock& clock_;
  Queue<Call*> woken_;  // bounded by the number of calls: each is in it at most once
  mutable std::mutex mutex_;
  std::set<Call*> calls_;  // guarded by mutex_
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: runs on the members above
};

}  // namespace switchyard
