// Calls that are answered where they are asked: parse, compute, serialize.
// All of our methods take raw bytes. Generated handlers answer bytes that are no valid message,
// such as a string that is not UTF-8, with UNIMPLEMENTED and no word; ours say INVALID_ARGUMENT.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "node/convert_answer.h"
#include "node/convert_status.h"

namespace switchyard {

// The message in `bytes`, or invalid_argument.
template <typename Message>
Result<Message> parse_message(const grpc::ByteBuffer& bytes) {
  Message message;
  if (!parse(bytes, message)) {
    return Status::invalid("request", "is not a valid ", Message::descriptor()->full_name(),
                           "; text must be UTF-8");
  }
  return message;
}

// A call as gRPC hands it to a raw unary handler.
struct NowCall {
  grpc::CallbackServerContext& context;
  const grpc::ByteBuffer& request;
  grpc::ByteBuffer& response;
};

// `answer` turns a Message into a Result of the response. Any thread; it may take its time.
template <typename Message, typename Answer>
grpc::ServerUnaryReactor* answer_now(NowCall call, const Answer& answer) {
  grpc::ServerUnaryReactor* reactor = call.context.DefaultReactor();
  Status status;
  if (const Result<Message> message = parse_message<Message>(call.request); message.ok()) {
    const auto response = answer(*message);
    status = response.status();
    if (status.ok()) call.response = serialize(*response);
  } else {
    status = message.status();
  }
  reactor->Finish(to_grpc(status, call.context));
  return reactor;
}

}  // namespace switchyard
