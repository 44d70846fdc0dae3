// InFlightBoard: what has been accepted and has not ended, counted where it is accepted, so that a
// stuck step thread cannot hide its backlog. Decides how many may be waiting; runs nothing.
// The counts are atomics: who only looks (a scrape, the watchdog) shares no lock with a step.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/schedule/scheduler.h"

namespace switchyard {

// Any thread.
class InFlightBoard {
 public:
  InFlightBoard(size_t max_waiting, const Clock& clock)
      : max_waiting_(max_waiting), clock_(clock) {}

  // False: as many wait already as may.
  [[nodiscard]] bool add(const Request& request);
  // How far some have come; called by the step thread once for all that a step moved.
  void update(std::span<const AnswerProgress> progress);
  void remove(RequestId id);
  // True the first time for a request in flight, so that each is cancelled at most once.
  [[nodiscard]] bool mark_cancelled(RequestId id);

  struct Counts {
    int running = 0;
    int waiting = 0;
    std::array<int, kPriorityClasses> waiting_by_class{};
    Duration oldest_wait{};  // since arrival, of those that wait
  };
  [[nodiscard]] Counts counts() const;               // takes no lock
  [[nodiscard]] std::vector<InFlight> list() const;  // by id

 private:
  struct Entry {
    std::string label;
    std::string tenant;
    TimePoint arrival;
    Phase phase = Phase::kQueued;
    int priority = 0;
    int prompt_tokens = 0;
    int completion_tokens = 0;
    bool cancelled = false;
  };

  // With the lock held: an entry in kQueued comes or goes.
  void begin_waiting(RequestId id, const Entry& entry);
  void end_waiting(RequestId id, const Entry& entry);

  const size_t max_waiting_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::unordered_map<RequestId, Entry> entries_;     // guarded by mutex_
  std::set<std::pair<TimePoint, RequestId>> queue_;  // guarded by mutex_: entries in kQueued

  // Written with the lock held.
  std::atomic<int> running_{0};
  std::array<std::atomic<int>, kPriorityClasses> waiting_by_class_{};
  std::atomic<TimePoint> oldest_arrival_{kNever};  // of those that wait; kNever: none does
};

}  // namespace switchyard
