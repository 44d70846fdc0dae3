// Load: a specification against targets, from the wait for their readiness to the finished run: one
// run, or a sweep of them over rates. The only place that starts drivers; prints nothing.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>

#include "client/load/driver.h"
#include "client/load/events.h"
#include "client/load/load_spec.h"
#include "client/load/run.h"
#include "client/load/targets.h"
#include "client/rpc/cancel_token.h"

namespace switchyard {

// Looks for the highest rate that meets an objective, by halving the ratio of two rates of which
// the lower meets it and the higher does not.
struct SweepSpec {
  double lowest_rate = 1;  // requests/s
  double highest_rate = 64;
  double seconds = 30;      // of each run
  double precision = 0.05;  // ends when the two rates are this close
  int32_t most_runs = 12;
};
absl::Status check(const SweepSpec& sweep);

using Judge = std::function<SweepVerdict(const LoadRun&)>;

class Load {
 public:
  // Waits until the targets are ready, no longer than `ready_time`, and asks what they serve.
  // `targets` must outlive it.
  static absl::StatusOr<std::unique_ptr<Load>> open(LoadSpec spec,
                                                    Targets& targets,
                                                    std::chrono::milliseconds ready_time);

  // Of the next run, before it begins: when its time 0 will be.
  using OnStart = std::function<void(std::chrono::steady_clock::time_point)>;
  void on_start(OnStart on_start) { on_start_ = std::move(on_start); }
  // Done to the nodes during run().
  void set_events(std::vector<PlannedEvent> events) { events_ = std::move(events); }
  void on_progress(Driver::OnProgress on_progress) { on_progress_ = std::move(on_progress); }

  absl::StatusOr<LoadRun> run();
  // Each run has prompts of its own, so that none is faster for what an earlier one left in caches.
  absl::StatusOr<SweepResult> sweep(const SweepSpec& sweep, const Judge& judge);
  // Writes what run() would ask.
  absl::Status save(std::ostream& out);

  // Any thread, any number of times: run() and sweep() return soon, with what there is.
  void stop();

  [[nodiscard]] const LoadSpec& spec() const { return spec_; }

 private:
  Load(LoadSpec spec, Targets& targets, const v1::Model& model);

  CountTokens counter();
  absl::StatusOr<LoadRun> run_once(const LoadSpec& spec, const std::vector<PlannedEvent>& events);
  std::vector<GreedyComparison> ask_alone(const std::vector<GreedyCase>& cases);
  bool stopping();

  const LoadSpec spec_;
  Targets& targets_;
  const std::string model_;
  TokenSpace space_;
  std::vector<PlannedEvent> events_;
  OnStart on_start_;
  Driver::OnProgress on_progress_;

  CancelToken alone_;  // of the calls that are no part of a run
  std::mutex mutex_;
  Driver* driver_ = nullptr;  // under mutex_: the one that runs
  bool stopping_ = false;     // under mutex_
};

}  // namespace switchyard
