#include "client/load/driver.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/load/figures.h"
#include "client/load/words.h"
#include "client/rpc/retry.h"

namespace switchyard {
namespace {

int64_t to_ns(double seconds) { return std::llround(seconds * 1e9); }

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

Driver::Driver(const LoadSpec& spec, LoadPlan plan, Targets& targets, OnProgress on_progress)
    : spec_(spec),
      end_ns_(spec.duration_seconds >= 0 ? to_ns(spec.duration_seconds) : INT64_MAX),
      plan_(std::move(plan)),
      targets_(targets),
      on_progress_(std::move(on_progress)),
      book_(spec),
      saturation_(to_ns(spec.stop.saturation_seconds)),
      jitter_(spec.seed) {}

Driver::Result Driver::run(std::chrono::steady_clock::time_point start) {
  clock_ = RunClock(start);
  const double cpu_before = cpu_seconds();
  RunFacts& facts = book_.facts();
  facts.start_unix_ns =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count() -
      clock_.now_ns();
  run_name_ = words(std::hex, facts.start_unix_ns);
  facts.seed = plan_.seed;
  facts.targets = targets_.addresses();
  facts.channels = targets_.channels();
  facts.balance = balance_name(targets_.policy());

  if (std::holds_alternative<ClosedLoop>(plan_.pace)) {
    seat_users();
  } else {
    stream_.emplace(plan_, spec_);
    next_arrival_ = stream_->next();
  }
  while (true) {
    take_news();
    const int64_t now_ns = clock_.now_ns();
    take_arrivals(now_ns);
    take_events(now_ns);
    if (now_ns >= next_look_ns_) look(now_ns);
    if (!cutting_ && now_ns >= cut_time_ns()) cut();
    if (nothing_left()) break;
    const int64_t arrival_ns = next_arrival_ ? next_arrival_->at_ns : INT64_MAX;
    wait(std::min({arrival_ns, agenda_.next_ns(), next_look_ns_}));
  }
  if (!stopped_) facts.stop_reason = reason_of_end();
  facts.client_cpu_seconds = cpu_seconds() - cpu_before;
  Result result;
  result.run = book_.close(clock_.now_ns(), result.greedy_cases);
  return result;
}

void Driver::stop() {
  std::lock_guard lock(mutex_);
  stop_requested_ = true;
  changed_.notify_one();
}

void Driver::paused(StreamCall& call) { tell({&call, News::Kind::kPaused}); }
void Driver::ended(StreamCall& call) { tell({&call, News::Kind::kEnded}); }

void Driver::tell(News news) {
  // Notified with the lock held: the driver may end with the last of its calls.
  std::lock_guard lock(mutex_);
  news_.push_back(news);
  changed_.notify_one();
}

void Driver::seat_users() {
  const auto& loop = std::get<ClosedLoop>(plan_.pace);
  users_.resize(static_cast<size_t>(loop.concurrency));
  users_requests_left_ = spec_.requests >= 0 ? spec_.requests : INT64_MAX;
  for (int32_t user = 0; user < loop.concurrency; ++user) {
    next_of_user(user, to_ns(loop.ramp_up_seconds * user / loop.concurrency));
  }
}

void Driver::next_of_user(int32_t user, int64_t intended_ns) {
  if (stopped_ || users_requests_left_ == 0) return;
  if (intended_ns >= end_ns_) {
    out_of_time_ = true;
    return;
  }
  std::deque<PlannedRequest>& turns = users_[static_cast<size_t>(user)].turns;
  if (turns.empty()) {
    std::optional<Conversation> conversation = plan_.source->next();
    if (!conversation) return;
    for (PlannedRequest& planned : *conversation) turns.push_back(std::move(planned));
  }
  --users_requests_left_;
  PlannedRequest planned = std::move(turns.front());
  turns.pop_front();
  if (planned.turn > 0 || !planned.last_turn) talks_[planned.conversation].busy = true;
  schedule({std::move(planned), intended_ns, user});
}

void Driver::schedule(Pending pending) {
  ++sends_scheduled_;
  const int64_t at_ns = pending.intended_ns;
  agenda_.add(at_ns, Send{std::move(pending)});
}

void Driver::take_arrivals(int64_t now_ns) {
  while (next_arrival_ && next_arrival_->at_ns <= now_ns) {
    PlannedRequest planned = *std::move(next_arrival_);
    admit(std::move(planned));
    next_arrival_ = stream_->next();
    out_of_time_ = stream_->out_of_time();
  }
}

void Driver::admit(PlannedRequest planned) {
  const int64_t at_ns = planned.at_ns;
  if (planned.turn == 0 && planned.last_turn) {
    return become_due({std::move(planned), at_ns, -1});
  }
  Talk& talk = talks_[planned.conversation];
  if (talk.busy) {
    talk.parked.push_back(std::move(planned));
    return;
  }
  const int64_t intended_ns = std::max(at_ns, talk.ready_ns);
  if (intended_ns >= end_ns_) {
    ++book_.facts().unsent_turns;
    return;
  }
  talk.busy = true;
  schedule({std::move(planned), intended_ns, -1});
}

void Driver::take_events(int64_t now_ns) {
  while (agenda_.next_ns() <= now_ns) {
    Event event = agenda_.take();
    if (auto* send_event = std::get_if<Send>(&event)) {
      if (stopped_) continue;  // counted by stop_sending()
      --sends_scheduled_;
      become_due(std::move(send_event->pending));
    } else if (const auto* leave = std::get_if<Leave>(&event)) {
      const auto due = in_flight_.find(leave->number);
      if (due != in_flight_.end() && due->second.call) due->second.call->cancel();
    } else if (const auto* resume = std::get_if<Resume>(&event)) {
      const auto due = in_flight_.find(resume->number);
      if (due != in_flight_.end() && std::exchange(due->second.paused, false)) {
        due->second.call->resume();
      }
    } else {
      const auto due = in_flight_.find(std::get<Retry>(event).number);
      if (due != in_flight_.end() && !cutting_) send(due->second);
    }
  }
}

void Driver::become_due(Pending pending) {
  Due due;
  due.record = book_.begin(pending.planned, pending.intended_ns);
  due.pending = std::move(pending);
  if (in_flight_.size() >= static_cast<size_t>(spec_.max_in_flight) || !held_back_.empty()) {
    due.record.held_back = true;
    held_back_.push_back(std::move(due));
    return;
  }
  const int64_t number = due.record.number;
  send(in_flight_.emplace(number, std::move(due)).first->second);
}

void Driver::send(Due& due) {
  const PlannedRequest& planned = due.pending.planned;
  CallSetting setting{.fault = planned.fault, .timeout = {}, .session = {}};
  if (spec_.timeout_seconds > 0) {
    setting.timeout = std::chrono::nanoseconds(to_ns(spec_.timeout_seconds));
  }
  if (due.attempts++ == 0) {
    due.request = planned.request;
    const auto talk = talks_.find(planned.conversation);
    if (due.record.session >= 0 && talk != talks_.end()) {
      due.request = talk->second.history.with(planned.request);
    }
    due.record.wanted_prompt_tokens = prompt_tokens(due.request);
    garble(due.request, planned.fault.garbling);
    ++sent_;
    book_.facts().peak_in_flight =
        std::max(book_.facts().peak_in_flight, static_cast<int32_t>(in_flight_.size()));
  }
  if (due.record.session >= 0) setting.session = words(run_name_, "-", due.record.session);
  const std::string key = setting.session.empty() ? due.request.request_id() : setting.session;
  due.call = std::make_unique<StreamCall>(StreamCall::World{clock_, *this, answer_tokens_},
                                          std::move(setting), due.record);
  last_event_ns_ = clock_.now_ns();
  // Whoever refused it is not asked again if another can be.
  due.call->start(targets_.pick(key, due.record.target), due.request);
  if (planned.fault.kind == LoadFault::kCancel && planned.fault.after_tokens == 0) {
    const int64_t first_ns = due.record.sent_ns >= 0 ? due.record.sent_ns : last_event_ns_;
    agenda_.add(first_ns + planned.fault.wait_ns, Leave{due.record.number});
  }
}

void Driver::take_news() {
  std::vector<News> news;
  bool stop_now = false;
  {
    std::lock_guard lock(mutex_);
    news.swap(news_);
    stop_now = std::exchange(stop_requested_, false);
  }
  for (const News& item : news) {
    if (item.kind == News::Kind::kPaused) {
      on_paused(*item.call);
    } else {
      on_ended(*item.call);
    }
  }
  if (stop_now && !cutting_) {
    stop_sending(StopReason::kInterrupted, "interrupted");
    cut();
  }
}

void Driver::on_paused(StreamCall& call) {
  if (cutting_) return call.resume();
  Due& due = in_flight_.at(call.number());
  due.paused = true;
  agenda_.add(clock_.now_ns() + due.pending.planned.fault.wait_ns, Resume{call.number()});
}

void Driver::on_ended(StreamCall& call) {
  last_event_ns_ = clock_.now_ns();
  const int64_t number = call.number();
  Due& due = in_flight_.at(number);
  due.record = std::move(call.record());
  if (const auto at_ns = retry_at(call, due)) {
    ++due.record.more_attempts;
    due.call.reset();
    agenda_.add(*at_ns, Retry{number});
    return;
  }
  due.record.cut = cutting_ && due.record.code != grpc::StatusCode::OK;
  const Answer& answer = call.answer();
  const v1::SamplingParameters& sampling = due.request.sampling();
  const bool is_greedy = sampling.has_temperature() && sampling.temperature() == 0;
  if (is_greedy && due.record.code == grpc::StatusCode::OK &&
      due.record.fault == LoadFault::kNone && due.record.turn == 0) {
    book_.offer(number, due.request, answer);
  }
  turn_ended(due, answer);
  finish(number);
}

std::optional<int64_t> Driver::retry_at(const StreamCall& call, const Due& due) {
  if (cutting_ || stopped_ || call.anything_arrived()) return std::nullopt;
  const RetryRules rules{.more_attempts = spec_.retries};
  const auto delay = retry_delay(call.status(), due.attempts, rules, jitter_);
  if (!delay) return std::nullopt;
  return clock_.now_ns() + std::chrono::nanoseconds(*delay).count();
}

void Driver::finish(int64_t number) {
  const auto due = in_flight_.find(number);
  const int32_t user = due->second.pending.user;
  const int64_t next_ns = due->second.record.end_ns + due->second.pending.planned.think_ns;
  if (const auto first_ms = ttft_ms(due->second.record);
      first_ms && completed(due->second.record)) {
    first_tokens_.add(static_cast<int64_t>(*first_ms * 1e6));
  }
  book_.end(std::move(due->second.record));
  in_flight_.erase(due);
  if (user >= 0) next_of_user(user, next_ns);
  let_held_back_go();
}

void Driver::turn_ended(const Due& due, const Answer& answer) {
  const PlannedRequest& planned = due.pending.planned;
  if (due.record.session < 0) return;
  if (planned.last_turn) {
    talks_.erase(planned.conversation);
    return;
  }
  Talk& talk = talks_.at(planned.conversation);
  // What was refused for its form was never said.
  if (planned.fault.kind != LoadFault::kMalformed) talk.history.add(planned.request, answer);
  talk.busy = false;
  talk.ready_ns = due.record.end_ns + planned.think_ns;
  while (!talk.busy && !talk.parked.empty()) {
    PlannedRequest next = std::move(talk.parked.front());
    talk.parked.pop_front();
    const int64_t intended_ns = std::max(next.at_ns, talk.ready_ns);
    if (stopped_ || intended_ns >= end_ns_) {
      ++book_.facts().unsent_turns;
      continue;
    }
    talk.busy = true;
    schedule({std::move(next), intended_ns, -1});
  }
}

void Driver::let_held_back_go() {
  while (!held_back_.empty() && in_flight_.size() < static_cast<size_t>(spec_.max_in_flight)) {
    Due due = std::move(held_back_.front());
    held_back_.pop_front();
    const int64_t number = due.record.number;
    send(in_flight_.emplace(number, std::move(due)).first->second);
  }
}

}  // namespace switchyard
