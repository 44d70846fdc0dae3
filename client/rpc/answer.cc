#include "client/rpc/answer.h"

namespace switchyard {
namespace {

grpc::Status not_an_answer(std::string_view what) {
  return {grpc::StatusCode::INTERNAL, "not a stream of an answer: " + std::string(what)};
}

// Both services stream the same events; `Event` is one's message with its oneof.
template <typename Event>
grpc::Status take_event(AnswerAssembly& assembly, const Event& event) {
  switch (event.event_case()) {
    case Event::kStarted:
      return assembly.take(event.started());
    case Event::kDelta:
      return assembly.take(event.delta());
    case Event::kFinished:
      return assembly.take(event.finished());
    case Event::kUsage:
      return assembly.take(event.usage());
    case Event::EVENT_NOT_SET:
      return {};  // an event of a later version
  }
  return {};
}

template <typename Event, typename Open>
AnswerOutcome follow(const CallOptions& options, const Listener& listener, const Open& open) {
  AnswerAssembly assembly;
  const auto take = [&](const Event& event) {
    const size_t shown = assembly.answer().text.size();
    grpc::Status status = take_event(assembly, event);
    const std::string_view fresh = std::string_view(assembly.answer().text).substr(shown);
    if (!fresh.empty() && listener.on_text) listener.on_text(fresh);
    return status;
  };
  grpc::Status status = call_stream<Event>(options, listener.cancel, open, take);
  if (status.ok()) status = assembly.complete();
  return {status, assembly.answer()};
}

}  // namespace

grpc::Status AnswerAssembly::expect(Stage stage, std::string_view message) const {
  if (stage_ == stage) return {};
  return not_an_answer("`" + std::string(message) + "` came out of order");
}

grpc::Status AnswerAssembly::take(const v1::Started& started) {
  if (grpc::Status order = expect(Stage::kNothing, "started"); !order.ok()) return order;
  stage_ = Stage::kStarted;
  answer_.started = started;
  return {};
}

grpc::Status AnswerAssembly::add_tokens(const google::protobuf::RepeatedField<int32_t>& ids,
                                        int32_t count) {
  if (grpc::Status order = expect(Stage::kStarted, "delta"); !order.ok()) return order;
  if (ids.size() != count) return not_an_answer("`token_count` is not the number of tokens");
  answer_.token_ids.insert(answer_.token_ids.end(), ids.begin(), ids.end());
  return {};
}

grpc::Status AnswerAssembly::take(const v1::Delta& delta) {
  grpc::Status status = add_tokens(delta.token_ids(), delta.token_count());
  if (status.ok()) answer_.text += delta.text();
  return status;
}

grpc::Status AnswerAssembly::take(const v1::ChatDelta& delta) {
  grpc::Status status = add_tokens(delta.token_ids(), delta.token_count());
  if (status.ok()) answer_.text += delta.text();
  return status;
}

grpc::Status AnswerAssembly::take(const v1::Finished& finished) {
  if (grpc::Status order = expect(Stage::kStarted, "finished"); !order.ok()) return order;
  stage_ = Stage::kFinished;
  answer_.finished = finished;
  return {};
}

grpc::Status AnswerAssembly::take(const v1::Usage& usage) {
  if (grpc::Status order = expect(Stage::kFinished, "usage"); !order.ok()) return order;
  stage_ = Stage::kUsage;
  answer_.usage = usage;
  return {};
}

grpc::Status AnswerAssembly::complete() const {
  if (stage_ == Stage::kUsage) return {};
  return not_an_answer("it ended before `usage`");
}

AnswerOutcome generate(v1::GenerationService::Stub& stub,
                       const v1::GenerateRequest& request,
                       const CallOptions& options,
                       const Listener& listener) {
  return follow<v1::GenerateStreamResponse>(options, listener, [&](grpc::ClientContext& context) {
    return stub.GenerateStream(&context, request);
  });
}

AnswerOutcome complete(v1::ChatService::Stub& stub,
                       const v1::CompleteRequest& request,
                       const CallOptions& options,
                       const Listener& listener) {
  return follow<v1::CompleteStreamResponse>(options, listener, [&](grpc::ClientContext& context) {
    return stub.CompleteStream(&context, request);
  });
}

}  // namespace switchyard
