// Node: what all services of one process share. Starts empty, serves once a model was published,
// drains once. Owns no sockets (server.h).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>

#include "node/config.h"
#include "node/courier.h"
#include "node/gate.h"
#include "node/load_report.h"
#include "node/log.h"
#include "node/metrics.h"
#include "node/serving.h"

namespace switchyard {

// For how long an engine that has had work since `busy_since` has shown no sign of life; zero
// while it has none.
Duration without_progress(const EngineLoad& load,
                          std::optional<TimePoint> busy_since,
                          TimePoint now);

// Any thread.
class Node {
 public:
  // `config`, `clock` and `log` must outlive it.
  Node(const Config& config, const Clock& clock, Log& log);
  // No call is open any more.
  ~Node();

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] const Clock& clock() const { return clock_; }
  [[nodiscard]] Log& log() { return log_; }
  [[nodiscard]] Metrics& metrics() { return metrics_; }
  [[nodiscard]] Courier& courier() { return courier_; }
  [[nodiscard]] Gate& gate() { return gate_; }
  [[nodiscard]] const LoadReporter& load_reporter() const { return load_reporter_; }
  // One caller at a time, now and then. Does nothing while the node starts.
  void refresh_load_report();
  [[nodiscard]] std::chrono::system_clock::time_point started_at() const { return started_at_; }

  // Once.
  void publish(std::unique_ptr<Serving> serving);
  // Null while the node starts; then the same until the node is destroyed.
  [[nodiscard]] Serving* serving() const { return published_.load(); }
  // What a call gets meanwhile: unavailable STARTING.
  [[nodiscard]] static Status starting();

  // New answers are refused from now on. Does nothing while the node starts.
  void drain();
  // Ends every answer in flight with `why`.
  void cancel_all(const Status& why);
  [[nodiscard]] NodeState state() const;

 private:
  const Config& config_;
  const Clock& clock_;
  Log& log_;
  const std::chrono::system_clock::time_point started_at_ = std::chrono::system_clock::now();
  Metrics metrics_;
  Gate gate_;
  LoadReporter load_reporter_;
  Courier courier_;                   // outlives the engine, which wakes it
  std::unique_ptr<Serving> serving_;  // set by publish() before published_
  std::atomic<Serving*> published_{nullptr};
};

}  // namespace switchyard
