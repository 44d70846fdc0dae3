// LoadStub: a server in this process that answers many streams at once with tokens at known times,
// and stalls, refuses or forgets things as a test wants. One thread keeps all times.
#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/load/agenda.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "switchyard/v1/generation.grpc.pb.h"
#include "switchyard/v1/model.grpc.pb.h"

namespace switchyard::test {

// How one request is answered. Tokens count up from the prompt's last one.
struct StubAnswer {
  std::chrono::microseconds first_token{0};
  std::chrono::microseconds gap{0};
  int32_t tokens = 4;
  int32_t tokens_per_delta = 1;
  grpc::Status refusal = {};   // not ok: there is no answer
  bool without_usage = false;  // ends before `usage`, with OK
};

class LoadStub {
 public:
  using Clock = std::chrono::steady_clock;
  using Respond = std::function<StubAnswer(const v1::GenerateRequest&)>;

  struct Seen {
    v1::GenerateRequest request;
    std::string session;  // x-session-id
    std::string peer;     // the connection's other end
    Clock::time_point at;
  };

  // `respond` is called on gRPC's threads.
  explicit LoadStub(Respond respond);
  ~LoadStub();

  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // From `at` on nothing moves for so long: what is due in between comes at its end, all at once.
  void stall(Clock::time_point at, std::chrono::milliseconds time);
  // What health says.
  void set_serving(bool serving) { serving_ = serving; }
  // What its load reports say, of 10 requests/s; 0: there are none.
  void set_utilization(double utilization) { utilization_ = utilization; }
  // Requests are kept from now on; off for loads that are large.
  void keep_requests(bool keep) { keep_ = keep; }

  [[nodiscard]] std::vector<Seen> seen();
  [[nodiscard]] int64_t cancelled() const { return cancelled_; }
  [[nodiscard]] int64_t open_streams() const { return open_; }

 private:
  class Stream;
  struct Generation;
  struct Models;
  struct Health;
  struct Reports;

  void at(Clock::time_point due, std::shared_ptr<Stream> stream);
  void keep_time();

  const Respond respond_;
  int port_ = 0;
  std::atomic<bool> serving_ = true;
  std::atomic<bool> keep_ = true;
  std::atomic<double> utilization_ = 0;
  std::atomic<int64_t> cancelled_ = 0;
  std::atomic<int64_t> open_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  Agenda<std::shared_ptr<Stream>> agenda_;                   // under mutex_
  std::vector<Seen> seen_;                                   // under mutex_
  Clock::time_point stall_from_ = Clock::time_point::max();  // under mutex_
  Clock::time_point stall_to_ = Clock::time_point::min();    // under mutex_
  bool ending_ = false;                                      // under mutex_

  std::unique_ptr<Generation> generation_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<Health> health_;
  std::unique_ptr<Reports> reports_;
  std::unique_ptr<grpc::Server> server_;
  std::thread time_;
};

}  // namespace switchyard::test
