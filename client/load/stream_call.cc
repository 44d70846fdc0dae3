#include "client/load/stream_call.h"

#include <utility>

#include "client/rpc/status_details.h"

namespace switchyard {
namespace {

double seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

}  // namespace

StreamCall::StreamCall(World world, CallSetting setting, RequestRecord record)
    : world_(world),
      setting_(std::move(setting)),
      number_(record.number),
      record_(std::move(record)) {}

void StreamCall::start(Targets::Lane& lane, const v1::GenerateRequest& request) {
  record_.target = lane.target;
  if (record_.first_target.empty()) record_.first_target = lane.target;
  if (!setting_.session.empty()) context_.AddMetadata("x-session-id", setting_.session);
  std::optional<std::chrono::nanoseconds> limit = setting_.timeout;
  if (setting_.fault.kind == LoadFault::kDeadline) {
    const std::chrono::nanoseconds own(setting_.fault.wait_ns);
    limit = limit ? std::min(*limit, own) : own;
  }
  if (limit) {
    context_.set_deadline(std::chrono::time_point_cast<std::chrono::system_clock::duration>(
        std::chrono::system_clock::now() + *limit));
  }
  lane.stub->async()->GenerateStream(&context_, &request, this);
  StartRead(&message_);
  if (record_.sent_ns < 0) record_.sent_ns = world_.clock.now_ns();
  StartCall();
}

void StreamCall::cancel() { context_.TryCancel(); }

void StreamCall::resume() {
  StartRead(&message_);
  RemoveHold();
}

void StreamCall::OnReadDone(bool ok) {
  if (!ok) return;
  const int64_t now_ns = world_.clock.now_ns();
  anything_arrived_ = true;
  not_an_answer_ = take(now_ns);
  if (!not_an_answer_.ok()) return context_.TryCancel();

  const PlannedFault& fault = setting_.fault;
  if (fault.kind == LoadFault::kCancel && fault.after_tokens > 0 && tokens_ >= fault.after_tokens) {
    return context_.TryCancel();  // and reads no more: this caller is gone
  }
  if (fault.kind == LoadFault::kSlowReader && fault.wait_ns > 0) {
    AddHold();
    return world_.listener.paused(*this);
  }
  StartRead(&message_);
}

grpc::Status StreamCall::take(int64_t now_ns) {
  switch (message_.event_case()) {
    case v1::GenerateStreamResponse::kStarted:
      record_.node_id = message_.started().node_id();
      return assembly_.take(message_.started());
    case v1::GenerateStreamResponse::kDelta: {
      const int32_t count = message_.delta().token_count();
      if (grpc::Status status = assembly_.take(message_.delta()); !status.ok()) return status;
      if (count == 0) return {};
      record_.arrivals.push_back({now_ns, count});
      tokens_ += count;
      world_.answer_tokens.fetch_add(count, std::memory_order_relaxed);
      return {};
    }
    case v1::GenerateStreamResponse::kFinished:
      return assembly_.take(message_.finished());
    case v1::GenerateStreamResponse::kUsage:
      take_usage(message_.usage());
      return assembly_.take(message_.usage());
    case v1::GenerateStreamResponse::EVENT_NOT_SET:
      return {};  // an event of a later version
  }
  return {};
}

void StreamCall::take_usage(const v1::Usage& usage) {
  record_.prompt_tokens = usage.prompt_tokens();
  record_.cached_tokens = usage.cached_tokens();
  record_.completion_tokens = usage.completion_tokens();
  record_.preemptions = usage.preemptions();
  record_.queue_seconds = seconds(usage.timings().queue());
  record_.first_token_seconds = seconds(usage.timings().first_token());
  record_.total_seconds = seconds(usage.timings().total());
}

void StreamCall::OnDone(const grpc::Status& status) {
  record_.end_ns = world_.clock.now_ns();
  status_ = status;
  if (!not_an_answer_.ok()) {
    status_ = not_an_answer_;
  } else if (status.ok()) {
    status_ = assembly_.complete();
    if (status_.ok() && record_.completion_tokens != tokens_) {
      status_ = {grpc::StatusCode::INTERNAL,
                 "not a stream of an answer: `usage` counts other tokens than the deltas"};
    }
  }
  record_.broken = !status_.ok() && (status.ok() || !not_an_answer_.ok());
  record_.code = status_.error_code();
  constexpr size_t kMessageBytes = 200;
  const StatusDetails details = parse_details(status_);
  record_.reason = details.reason;
  record_.retry_hint = details.retry_after.has_value();
  record_.message = status_.error_message().substr(0, kMessageBytes);
  world_.listener.ended(*this);  // may delete this
}

}  // namespace switchyard
