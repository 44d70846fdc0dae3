// Engine answers to protobuf messages, serialized. Two formats: GenerationService's and
// ChatService's. Pure.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>

#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/request/request.h"

namespace google::protobuf {
class Duration;
class MessageLite;
}  // namespace google::protobuf

namespace switchyard {

// What is known about an answer before its first token.
struct AnswerHead {
  std::string node_id;
  std::string model;
  RequestId id{};
  uint64_t seed = 0;
  int prompt_tokens = 0;
};

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // The messages of a stream.
  [[nodiscard]] virtual grpc::ByteBuffer started(const AnswerHead& head) const = 0;
  [[nodiscard]] virtual grpc::ByteBuffer delta(AnswerDelta delta) const = 0;
  [[nodiscard]] virtual grpc::ByteBuffer finished(const EndOfAnswer& end) const = 0;
  [[nodiscard]] virtual grpc::ByteBuffer usage(const EndOfAnswer& end) const = 0;
  // All of it as one message.
  [[nodiscard]] virtual grpc::ByteBuffer whole(const AnswerHead& head,
                                               AnswerDelta all,
                                               const EndOfAnswer& end) const = 0;
};

class GenerationFormat final : public AnswerFormat {
 public:
  [[nodiscard]] grpc::ByteBuffer started(const AnswerHead& head) const override;
  [[nodiscard]] grpc::ByteBuffer delta(AnswerDelta delta) const override;
  [[nodiscard]] grpc::ByteBuffer finished(const EndOfAnswer& end) const override;
  [[nodiscard]] grpc::ByteBuffer usage(const EndOfAnswer& end) const override;
  [[nodiscard]] grpc::ByteBuffer whole(const AnswerHead& head,
                                       AnswerDelta all,
                                       const EndOfAnswer& end) const override;
};

class ChatFormat final : public AnswerFormat {
 public:
  [[nodiscard]] grpc::ByteBuffer started(const AnswerHead& head) const override;
  [[nodiscard]] grpc::ByteBuffer delta(AnswerDelta delta) const override;
  [[nodiscard]] grpc::ByteBuffer finished(const EndOfAnswer& end) const override;
  [[nodiscard]] grpc::ByteBuffer usage(const EndOfAnswer& end) const override;
  [[nodiscard]] grpc::ByteBuffer whole(const AnswerHead& head,
                                       AnswerDelta all,
                                       const EndOfAnswer& end) const override;
};

grpc::ByteBuffer serialize(const google::protobuf::MessageLite& message);
// False: the bytes are no such message, or a string in them is not UTF-8.
bool parse(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);

void write_duration(Duration duration, google::protobuf::Duration& out);

}  // namespace switchyard
