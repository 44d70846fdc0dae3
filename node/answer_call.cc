#include "node/answer_call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "node/convert_status.h"

namespace switchyard {
namespace {

// gRPC's deadlines are on the system's clock. One further away than this is none.
constexpr Duration kFarAway = std::chrono::hours(24 * 365);

TimePoint deadline_of(const grpc::CallbackServerContext& context, TimePoint now) {
  const auto deadline = context.deadline();
  const auto system_now = std::chrono::system_clock::now();
  if (deadline > system_now + kFarAway) return kNever;
  return now + std::max<Duration>(deadline - system_now, Duration::zero());
}

}  // namespace

AnswerCall::AnswerCall(AnswerCallParts parts)
    : parts_(parts),
      meter_(parts.node.metrics().rpcs, rpc_of(parts.method)),
      arrival_(parts.node.clock().now()),
      deadline_(deadline_of(parts.context, arrival_)) {
  meter_.received(parts.request_bytes);
}

Status AnswerCall::begin(const QuestionReader& read) {
  Status status = [&] {
    std::lock_guard lock(mutex_);
    return submit(read);
  }();
  if (status.ok()) return status;
  parts_.node.metrics().on_rejected(status);
  parts_.node.metrics().on_call_end(parts_.method, status.code(), FinishReason::kError);
  parts_.node.log().info("refused", {{"method", kAnswerMethodNames[size_t(parts_.method)]},
                                     {"tenant", tenant_},
                                     {"label", label_},
                                     {"code", code_name(status.code())},
                                     {"why", status.message()}});
  return status;
}

Status AnswerCall::submit(const QuestionReader& read) {
  Result<std::string> tenant = parts_.node.gate().admit(rpc_of(parts_.method), parts_.context);
  if (!tenant.ok()) return tenant.status();
  tenant_ = std::move(*tenant);
  serving_ = parts_.node.serving();
  if (serving_ == nullptr) return Node::starting();
  Admission& admission = serving_->admission;
  const ServedModel& model = serving_->model;
  Engine& engine = *serving_->engine;
  if (Status status = admission.enter(deadline_); !status.ok()) return status;

  Result<Question> question = read(model.sampling_defaults());
  if (!question.ok()) return question.status();
  label_ = question->label;
  if (Status status = model.check_name(question->model); !status.ok()) return status;
  Result<std::vector<int32_t>> prompt = model.tokenize(question->prompt);
  if (!prompt.ok()) return prompt.status();
  const RequestId id = engine.next_id();
  Result<RequestFields> fields = model.fields(id, std::move(*question), std::move(*prompt));
  if (!fields.ok()) return fields.status();

  const auto prompt_tokens = static_cast<int>(fields->prompt.size());
  head_ = {.node_id = parts_.node.config().node_id,
           .model = model.name(),
           .id = id,
           .seed = fields->sampling.seed,
           .prompt_tokens = prompt_tokens};
  outbox_ = std::make_shared<Outbox>(
      Outbox::Surroundings{parts_.node.clock(), parts_.node.metrics(), arrival_},
      Outbox::Hooks{.wake = [this] { parts_.node.courier().wake(*this); },
                    .on_prompt_done = [&admission,
                                       prompt_tokens] { admission.on_prompt_done(prompt_tokens); },
                    .on_end = [&admission] { admission.on_end(); }});
  fields->tenant = tenant_;
  fields->arrival = arrival_;
  fields->deadline = deadline_;
  fields->sink = outbox_;
  Result<Request> request = Request::make(std::move(*fields), engine.request_limits());
  if (!request.ok()) return request.status();

  parts_.node.courier().add(*this);
  Status status = admission.submit(prompt_tokens, deadline_,
                                   [&] { return engine.submit(std::move(*request)); });
  if (!status.ok()) {
    parts_.node.courier().remove(*this);
    outbox_.reset();
  }
  return status;
}

void AnswerCall::cancel() {
  std::lock_guard lock(mutex_);
  if (outbox_ == nullptr) return;
  // gRPC ends a call whose deadline has passed as if the client had gone.
  const bool late = parts_.node.clock().now() >= deadline_;
  serving_->engine->cancel(head_.id,
                           late ? Status(Code::kDeadlineExceeded, "the deadline has passed")
                                : Status(Code::kCancelled, "the client went away"));
}

void AnswerCall::leave() {
  std::lock_guard lock(mutex_);
  if (outbox_ != nullptr) parts_.node.courier().remove(*this);
}

void AnswerCall::check_reader(TimePoint now) {
  const TimePoint began = write_began_;
  if (began == kNever) return;
  const Duration limit = parts_.node.config().stall_limit;
  const Duration stalled = now - began;
  if (stalled > limit && !abandoned_) {
    abandoned_ = true;
    const Status why = Status(Code::kAborted, "the reader took nothing for ", seconds(limit), " s")
                           .with_reason("READER_STALLED");
    outbox_->abandon(why);
    serving_->engine->cancel(head_.id, why);
  }
  // Whoever reads again in time learns why; nobody else gets to hold a stream for ever.
  if (stalled > 2 * limit) parts_.context.TryCancel();
}

Outbox::Item AnswerCall::take() {
  Outbox::Item item = outbox_->take();
  if (const auto* end = std::get_if<EndOfAnswer>(&item)) on_ended(*end);
  return item;
}

grpc::Status AnswerCall::seal(const Status& status) {
  meter_.ended(status.code());
  if (parts_.node.config().orca) {
    std::string report = parts_.node.load_reporter().serialized();
    if (!report.empty()) parts_.context.AddTrailingMetadata("endpoint-load-metrics-bin", report);
  }
  return to_grpc(status, parts_.context);
}

void AnswerCall::on_ended(const EndOfAnswer& end) {
  parts_.node.metrics().on_call_end(parts_.method, end.status.code(), end.reason);
  const std::string_view reason =
      end.status.ok() ? kFinishReasonNames[static_cast<size_t>(end.reason)] : "none";
  parts_.node.log().info("answered", {{"method", kAnswerMethodNames[size_t(parts_.method)]},
                                      {"id", static_cast<uint64_t>(head_.id)},
                                      {"tenant", tenant_},
                                      {"label", label_},
                                      {"code", code_name(end.status.code())},
                                      {"finish_reason", reason},
                                      {"why", end.status.message()},
                                      {"prompt_tokens", end.usage.prompt_tokens},
                                      {"cached_tokens", end.usage.cached_tokens},
                                      {"completion_tokens", end.usage.completion_tokens},
                                      {"preemptions", end.usage.preemptions},
                                      {"queue_s", seconds(end.timings.queue)},
                                      {"first_token_s", seconds(end.timings.first_token)},
                                      {"total_s", seconds(end.timings.total)}});
}

}  // namespace switchyard
