// Driver: carries out a plan against targets: sends each request when it is due whatever became of
// the others (open loop) or of its user's last one (closed loop), until there are no more, the time
// is over, or there is a reason to stop. Judges nothing; the records of the run go to the report.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "client/load/agenda.h"
#include "client/load/history.h"
#include "client/load/load_plan.h"
#include "client/load/progress.h"
#include "client/load/run_book.h"
#include "client/load/saturation.h"
#include "client/load/stream_call.h"
#include "client/load/targets.h"

namespace switchyard {

// One thread, run()'s, decides and sends; gRPC's threads read answers and hand over what has ended.
class Driver final : private CallListener {
 public:
  // Called on the driving thread four times a second; must return at once.
  using OnProgress = std::function<void(const LoadProgress&, const LiveLatency& first_tokens)>;

  // `targets` must outlive this.
  Driver(const LoadSpec& spec, LoadPlan plan, Targets& targets, OnProgress on_progress);

  struct Result {
    LoadRun run;
    std::vector<GreedyCase> greedy_cases;  // as many as the specification asks for, or fewer
  };
  // Once. The run's times count from `start`, which may lie ahead.
  Result run(std::chrono::steady_clock::time_point start);

  // Any thread: sends nothing more and ends what is in flight.
  void stop();

 private:
  // A request on its way to being sent.
  struct Pending {
    PlannedRequest planned;
    int64_t intended_ns = 0;
    int32_t user = -1;  // of a closed loop
  };
  struct Due {
    RequestRecord record;
    Pending pending;
    v1::GenerateRequest request;       // with the conversation so far
    std::unique_ptr<StreamCall> call;  // null between two attempts
    int attempts = 0;
    bool paused = false;
  };
  // A conversation of several turns.
  struct Talk {
    History history;
    bool busy = false;  // a turn is due, held back or in flight
    int64_t ready_ns = 0;
    std::deque<PlannedRequest> parked;  // their time came while it was busy
  };
  struct User {
    std::deque<PlannedRequest> turns;  // of its conversation, still to be asked
  };

  struct Send {
    Pending pending;
  };
  struct Leave {
    int64_t number;
  };
  struct Resume {
    int64_t number;
  };
  struct Retry {
    int64_t number;
  };
  using Event = std::variant<Send, Leave, Resume, Retry>;

  struct News {
    StreamCall* call;
    enum class Kind { kPaused, kEnded } kind;
  };

  // CallListener: gRPC's threads.
  void paused(StreamCall& call) override;
  void ended(StreamCall& call) override;
  void tell(News news);

  // Everything else: the driving thread.
  void seat_users();
  void next_of_user(int32_t user, int64_t intended_ns);
  void schedule(Pending pending);
  void take_arrivals(int64_t now_ns);
  void admit(PlannedRequest planned);
  void take_news();
  void take_events(int64_t now_ns);
  void become_due(Pending pending);
  void send(Due& due);
  void on_paused(StreamCall& call);
  void on_ended(StreamCall& call);
  [[nodiscard]] std::optional<int64_t> retry_at(const StreamCall& call, const Due& due);
  void finish(int64_t number);
  void turn_ended(const Due& due, const Answer& answer);
  void let_held_back_go();
  void look(int64_t now_ns);
  void stop_sending(StopReason reason, std::string detail);
  void cut();
  [[nodiscard]] int64_t cut_time_ns() const;
  [[nodiscard]] bool nothing_left() const;
  void wait(int64_t until_ns);
  [[nodiscard]] StopReason reason_of_end() const;

  const LoadSpec spec_;
  const int64_t end_ns_;  // of the duration; INT64_MAX: none
  LoadPlan plan_;
  Targets& targets_;
  const OnProgress on_progress_;
  RunClock clock_{{}};
  std::string run_name_;  // tells this run's sessions from others'

  // The driving thread's.
  RunBook book_;
  Saturation saturation_;
  std::mt19937_64 jitter_;
  std::optional<RequestStream> stream_;  // open loop
  std::optional<PlannedRequest> next_arrival_;
  std::vector<User> users_;  // closed loop
  int64_t users_requests_left_ = 0;
  bool out_of_time_ = false;
  Agenda<Event> agenda_;
  int64_t sends_scheduled_ = 0;  // Send events that will be obeyed
  std::unordered_map<int64_t, Talk> talks_;
  std::unordered_map<int64_t, Due> in_flight_;  // by number
  std::deque<Due> held_back_;
  LiveLatency first_tokens_;  // of answers that have ended, from the intended send
  int64_t sent_ = 0;
  bool stopped_ = false;  // sends nothing new
  bool cutting_ = false;
  int64_t last_event_ns_ = 0;
  int64_t last_tokens_ = 0;
  int64_t next_look_ns_ = 0;

  std::atomic<int64_t> answer_tokens_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<News> news_;       // under mutex_
  bool stop_requested_ = false;  // under mutex_
};

}  // namespace switchyard
