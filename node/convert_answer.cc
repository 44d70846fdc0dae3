#include "node/convert_answer.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <utility>

#include "switchyard/v1/chat.pb.h"
#include "switchyard/v1/common.pb.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {
namespace {

void write_head(const AnswerHead& head, v1::Started& out) {
  out.set_node_id(head.node_id);
  out.set_model(head.model);
  out.set_id(static_cast<uint64_t>(head.id));
  out.set_seed(head.seed);
  out.set_prompt_tokens(head.prompt_tokens);
}

void write_logprob(const TokenLogprob& logprob, v1::TokenLogprob& out) {
  out.set_token_id(logprob.token);
  out.set_logprob(logprob.logprob);
  for (const auto& [token, value] : logprob.top) {
    v1::TopLogprob& top = *out.add_top();
    top.set_token_id(token);
    top.set_logprob(value);
  }
}

// Tokens and their log-probabilities; the text is where the formats differ.
template <typename Message>
void write_tokens(const AnswerDelta& delta, Message& out) {
  out.mutable_token_ids()->Assign(delta.tokens.begin(), delta.tokens.end());
  for (const TokenLogprob& logprob : delta.logprobs) write_logprob(logprob, *out.add_logprobs());
}

v1::FinishReason reason_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
    case FinishReason::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case FinishReason::kContextLimit:
      return v1::FINISH_REASON_CONTEXT_LIMIT;
    case FinishReason::kError:
      break;  // ends with a status, never with a message
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void write_finished(const EndOfAnswer& end, v1::Finished& out) {
  out.set_reason(reason_of(end.reason));
  out.set_matched_stop(end.matched_stop);
  if (end.matched_token >= 0) out.set_matched_token_id(end.matched_token);
}

void write_usage(const EndOfAnswer& end, v1::Usage& out) {
  out.set_prompt_tokens(end.usage.prompt_tokens);
  out.set_cached_tokens(end.usage.cached_tokens);
  out.set_completion_tokens(end.usage.completion_tokens);
  out.set_preemptions(end.usage.preemptions);
  v1::Timings& timings = *out.mutable_timings();
  write_duration(end.timings.queue, *timings.mutable_queue());
  write_duration(end.timings.prefill, *timings.mutable_prefill());
  write_duration(end.timings.first_token, *timings.mutable_first_token());
  write_duration(end.timings.decode, *timings.mutable_decode());
  write_duration(end.timings.total, *timings.mutable_total());
}

template <typename Event>
grpc::ByteBuffer started_event(const AnswerHead& head) {
  Event event;
  write_head(head, *event.mutable_started());
  return serialize(event);
}

template <typename Event>
grpc::ByteBuffer finished_event(const EndOfAnswer& end) {
  Event event;
  write_finished(end, *event.mutable_finished());
  return serialize(event);
}

template <typename Event>
grpc::ByteBuffer usage_event(const EndOfAnswer& end) {
  Event event;
  write_usage(end, *event.mutable_usage());
  return serialize(event);
}

// Everything of a unary response but its text.
template <typename Response>
Response whole_response(const AnswerHead& head, const AnswerDelta& all, const EndOfAnswer& end) {
  Response response;
  write_head(head, *response.mutable_started());
  write_tokens(all, response);
  write_finished(end, *response.mutable_finished());
  write_usage(end, *response.mutable_usage());
  return response;
}

}  // namespace

grpc::ByteBuffer GenerationFormat::started(const AnswerHead& head) const {
  return started_event<v1::GenerateStreamResponse>(head);
}
grpc::ByteBuffer GenerationFormat::finished(const EndOfAnswer& end) const {
  return finished_event<v1::GenerateStreamResponse>(end);
}
grpc::ByteBuffer GenerationFormat::usage(const EndOfAnswer& end) const {
  return usage_event<v1::GenerateStreamResponse>(end);
}

grpc::ByteBuffer GenerationFormat::delta(AnswerDelta delta) const {
  v1::GenerateStreamResponse event;
  v1::Delta& out = *event.mutable_delta();
  write_tokens(delta, out);
  out.set_token_count(static_cast<int32_t>(delta.tokens.size()));
  out.set_text(std::move(delta.text));
  return serialize(event);
}

grpc::ByteBuffer GenerationFormat::whole(const AnswerHead& head,
                                         AnswerDelta all,
                                         const EndOfAnswer& end) const {
  auto response = whole_response<v1::GenerateResponse>(head, all, end);
  response.set_text(std::move(all.text));
  return serialize(response);
}

grpc::ByteBuffer ChatFormat::started(const AnswerHead& head) const {
  return started_event<v1::CompleteStreamResponse>(head);
}
grpc::ByteBuffer ChatFormat::finished(const EndOfAnswer& end) const {
  return finished_event<v1::CompleteStreamResponse>(end);
}
grpc::ByteBuffer ChatFormat::usage(const EndOfAnswer& end) const {
  return usage_event<v1::CompleteStreamResponse>(end);
}

grpc::ByteBuffer ChatFormat::delta(AnswerDelta delta) const {
  v1::CompleteStreamResponse event;
  v1::ChatDelta& out = *event.mutable_delta();
  write_tokens(delta, out);
  out.set_token_count(static_cast<int32_t>(delta.tokens.size()));
  if (!delta.text.empty()) out.set_text(std::move(delta.text));
  return serialize(event);
}

grpc::ByteBuffer ChatFormat::whole(const AnswerHead& head,
                                   AnswerDelta all,
                                   const EndOfAnswer& end) const {
  auto response = whole_response<v1::CompleteResponse>(head, all, end);
  response.mutable_message()->set_role("assistant");
  response.mutable_message()->set_content(std::move(all.text));
  return serialize(response);
}

grpc::ByteBuffer serialize(const google::protobuf::MessageLite& message) {
  constexpr int kBlockBytes = 64 << 10;
  grpc::ByteBuffer bytes;
  grpc::ProtoBufferWriter writer(&bytes, kBlockBytes, static_cast<int>(message.ByteSizeLong()));
  CHECK(message.SerializeToZeroCopyStream(&writer));
  return bytes;
}

bool parse(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::ByteBuffer unread = bytes;  // shares the slices; reading consumes this copy
  grpc::ProtoBufferReader reader(&unread);
  return reader.status().ok() && message.ParseFromZeroCopyStream(&reader);
}

void write_duration(Duration duration, google::protobuf::Duration& out) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  out.set_seconds(duration.count() / kPerSecond);
  out.set_nanos(static_cast<int32_t>(duration.count() % kPerSecond));
}

}  // namespace switchyard
