// Events: what is done to the nodes while a load goes on, such as killing or draining one, so that
// the report tells what became of the streams.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/load/run.h"

namespace switchyard {

struct PlannedEvent {
  enum class Kind : uint8_t { kCommand, kDrain };

  double at_seconds = 0;
  Kind kind = Kind::kCommand;
  std::string what;  // a command line for /bin/sh, or the HOST:PORT of a node's admin listener
};

// "SECONDS:WHAT", as flags have it.
absl::StatusOr<PlannedEvent> parse_event(PlannedEvent::Kind kind, std::string_view text);

// A thread for each event. Commands read nothing and write to this program's standard error; they
// are process groups of their own, so that Ctrl-C reaches them only through finish().
class EventRunner {
 public:
  static constexpr size_t kMostEvents = 64;

  // Times count from `start`, which may lie ahead.
  EventRunner(const std::vector<PlannedEvent>& events, std::chrono::steady_clock::time_point start);
  ~EventRunner();

  // Begins no more, ends commands that still run (SIGTERM, two seconds later SIGKILL), and says
  // what became of all. In the order of their times. Once.
  std::vector<EventRecord> finish();

 private:
  void follow(const PlannedEvent& event, EventRecord& record);
  void run_command(const std::string& command, EventRecord& record);
  void drain(const std::string& address, EventRecord& record);
  [[nodiscard]] int64_t now_ns() const;
  // False: stopping.
  bool wait_until(std::chrono::steady_clock::time_point time);

  const std::chrono::steady_clock::time_point start_;
  std::vector<PlannedEvent> events_;
  std::vector<EventRecord> records_;  // each its thread's until that has ended

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // under mutex_
  std::vector<std::thread> threads_;
};

}  // namespace switchyard
