// StreamCall: one attempt of one request of a load, from its send to its status, by gRPC's callback
// API: no thread waits for it. Records what arrives and when; decides nothing about the load.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

#include "client/load/planned_request.h"
#include "client/load/targets.h"
#include "client/rpc/answer.h"

namespace switchyard {

// Nanoseconds since the run began.
class RunClock {
 public:
  explicit RunClock(std::chrono::steady_clock::time_point start) : start_(start) {}
  [[nodiscard]] int64_t now_ns() const {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count();
  }
  [[nodiscard]] std::chrono::steady_clock::time_point at(int64_t ns) const {
    return start_ + std::chrono::nanoseconds(ns);
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

class StreamCall;

// Told on a thread of gRPC's. Must return at once and outlive the calls.
class CallListener {
 public:
  virtual ~CallListener() = default;
  // Until resume() the call reads nothing more, and does not end.
  virtual void paused(StreamCall& call) = 0;
  // Its last word: from now on the call belongs to the listener.
  virtual void ended(StreamCall& call) = 0;
};

struct CallSetting {
  PlannedFault fault;
  std::optional<std::chrono::nanoseconds> timeout;  // whatever the fault
  std::string session;                              // for x-session-id; empty: none
};

class StreamCall final : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  struct World {
    RunClock clock;
    CallListener& listener;
    std::atomic<int64_t>& answer_tokens;  // of all calls
  };

  // `record` is of the request; an attempt before this one may have written in it.
  StreamCall(World world, CallSetting setting, RequestRecord record);

  // The owner's thread, once. `request` is not used after it returns.
  void start(Targets::Lane& lane, const v1::GenerateRequest& request);
  // Any thread, between start() and the end of the owner's part in ended().
  void cancel();
  // The owner's thread, once after each paused().
  void resume();

  // Any thread.
  [[nodiscard]] int64_t number() const { return number_; }

  // After ended().
  RequestRecord& record() { return record_; }
  [[nodiscard]] const Answer& answer() const { return assembly_.answer(); }
  [[nodiscard]] const grpc::Status& status() const { return status_; }
  [[nodiscard]] bool anything_arrived() const { return anything_arrived_; }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  [[nodiscard]] grpc::Status take(int64_t now_ns);
  void take_usage(const v1::Usage& usage);

  const World world_;
  const CallSetting setting_;
  const int64_t number_;

  // The owner's until start() and after ended(); in between the reactions', one at a time.
  grpc::ClientContext context_;
  v1::GenerateStreamResponse message_;
  RequestRecord record_;
  AnswerAssembly assembly_;
  grpc::Status not_an_answer_;
  grpc::Status status_;
  int64_t tokens_ = 0;
  bool anything_arrived_ = false;
};

}  // namespace switchyard
