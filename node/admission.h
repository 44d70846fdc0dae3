// Admission: accepts, queues or refuses, now. The only place that says "busy".
// Decides by counts and times alone; what a request means is Request::make's business.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "engine/base/clock.h"
#include "engine/base/result.h"
#include "engine/engine.h"

namespace switchyard {

struct AdmissionLimits {
  int queue = 0;             // requests that may wait
  int64_t queue_tokens = 0;  // prompt tokens that may wait; one prompt alone may be longer
  Duration queue_age{};      // nothing new while a request has waited longer
};

// Any thread. What the step thread and a scrape touch are atomics: neither waits for the other.
class Admission {
 public:
  // `clock` must outlive it. `load` gives the engine's, counting what was just submitted.
  Admission(AdmissionLimits limits, const Clock& clock, std::function<EngineLoad()> load);

  // Before a call costs anything: unavailable DRAINING; deadline_exceeded DEADLINE when it has
  // passed already; resource_exhausted QUEUE_FULL or QUEUE_AGE.
  [[nodiscard]] Status enter(TimePoint deadline) const;

  // When its prompt is known in tokens: the same again, and resource_exhausted TOKEN_BUDGET;
  // otherwise what `submit` says. One at a time, so that the sums it checked are true when it
  // submits.
  Status submit(int64_t prompt_tokens, TimePoint deadline, const std::function<Status()>& submit);

  // Of an answer that submit() accepted, once each and in this order: its prompt waits no more,
  // and the engine has ended it.
  void on_prompt_done(int64_t prompt_tokens);
  void on_end();

  void drain();
  [[nodiscard]] bool draining() const;

  // Answers accepted and not ended. Counted here and not by the engine, so that a hung engine
  // cannot hide them.
  [[nodiscard]] int in_flight() const;
  // Since when there has been one without a pause; nothing while there is none.
  [[nodiscard]] std::optional<TimePoint> busy_since() const;

 private:
  [[nodiscard]] Status check(const EngineLoad& load, TimePoint deadline) const;

  const AdmissionLimits limits_;
  const Clock& clock_;
  const std::function<EngineLoad()> load_;
  std::mutex submit_mutex_;  // held over check and submit: only so do counts grow
  std::atomic<int> in_flight_{0};
  std::atomic<int64_t> waiting_tokens_{0};  // of prompts not done
  std::atomic<TimePoint> busy_since_{TimePoint()};
  std::atomic<bool> draining_{false};
};

}  // namespace switchyard
