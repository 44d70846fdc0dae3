#include "client/load/events.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstring>
#include <optional>

#include "client/load/failure.h"
#include "client/load/words.h"
#include "client/rpc/channel.h"
#include "client/rpc/status_details.h"
#include "switchyard/v1/admin.grpc.pb.h"

namespace switchyard {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMostSeconds = 7 * 86'400;
constexpr std::chrono::seconds kDrainTime{10};
constexpr std::chrono::seconds kBetweenSignals{2};
constexpr std::chrono::milliseconds kBetweenLooks{20};

// Zero, or why there is no such process.
int spawn_shell(const std::string& command, pid_t& child) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);  // this program waits for its signals
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::string shell = "sh";
  std::string flag = "-c";
  std::string line = command;
  char* const arguments[] = {shell.data(), flag.data(), line.data(), nullptr};
  const int error = posix_spawn(&child, "/bin/sh", &files, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

std::string outcome_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) return words("ended by signal ", WTERMSIG(wait_status));
  return words("exit code ", WEXITSTATUS(wait_status));
}

}  // namespace

absl::StatusOr<PlannedEvent> parse_event(PlannedEvent::Kind kind, std::string_view text) {
  PlannedEvent event{.at_seconds = 0, .kind = kind, .what = {}};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, event.at_seconds);
  if (error != std::errc() || rest == end || *rest != ':' || rest + 1 == end) {
    return failure("\"", text, "\" is not SECONDS:",
                   kind == PlannedEvent::Kind::kDrain ? "HOST:PORT" : "COMMAND");
  }
  if (!(event.at_seconds >= 0 && event.at_seconds <= kMostSeconds)) {
    return failure("\"", text, "\": seconds must be in [0, ", kMostSeconds, "]");
  }
  event.what.assign(rest + 1, end);
  return event;
}

EventRunner::EventRunner(const std::vector<PlannedEvent>& events, Clock::time_point start)
    : start_(start), events_(events) {
  std::ranges::stable_sort(events_, {}, &PlannedEvent::at_seconds);
  records_.resize(events_.size());
  threads_.reserve(events_.size());
  for (size_t i = 0; i < events_.size(); ++i) {
    threads_.emplace_back([this, i] { follow(events_[i], records_[i]); });
  }
}

EventRunner::~EventRunner() { finish(); }

std::vector<EventRecord> EventRunner::finish() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  return std::move(records_);
}

int64_t EventRunner::now_ns() const {
  return std::chrono::nanoseconds(Clock::now() - start_).count();
}

bool EventRunner::wait_until(Clock::time_point time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_until(lock, time, [this] { return stopping_; });
}

void EventRunner::follow(const PlannedEvent& event, EventRecord& record) {
  const bool is_drain = event.kind == PlannedEvent::Kind::kDrain;
  record.what = is_drain ? "drain " + event.what : event.what;
  const std::chrono::nanoseconds planned(std::llround(event.at_seconds * 1e9));
  record.planned_ns = planned.count();
  if (!wait_until(start_ + planned)) {
    record.outcome = "the run was over before";
    return;
  }
  record.began_ns = now_ns();
  if (is_drain) {
    drain(event.what, record);
  } else {
    run_command(event.what, record);
  }
  record.ended_ns = now_ns();
}

void EventRunner::run_command(const std::string& command, EventRecord& record) {
  pid_t child = 0;
  if (const int error = spawn_shell(command, child); error != 0) {
    record.outcome = words("could not be run: ", std::strerror(error));
    return;
  }
  int status = 0;
  std::optional<Clock::time_point> told_to_end;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (told_to_end) {
      std::this_thread::sleep_for(kBetweenLooks);
      if (Clock::now() - *told_to_end > kBetweenSignals) kill(-child, SIGKILL);
    } else if (!wait_until(Clock::now() + kBetweenLooks)) {
      kill(-child, SIGTERM);
      told_to_end = Clock::now();
    }
  }
  record.succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  record.outcome = (told_to_end ? "outlasted the run: " : "") + outcome_of(status);
}

void EventRunner::drain(const std::string& address, EventRecord& record) {
  // Admin listeners speak plaintext.
  ChannelOptions options;
  options.target = address;
  const auto admin = v1::AdminService::NewStub(open_channel(options));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDrainTime);
  v1::DrainResponse response;
  const grpc::Status status = admin->Drain(&context, {}, &response);
  record.succeeded = status.ok();
  record.outcome = status.ok() ? words("with ", response.in_flight(), " answers in flight")
                               : describe(status, address);
}

}  // namespace switchyard
