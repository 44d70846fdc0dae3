// Calls that are answered where they are asked: parse, compute, serialize.
// All of our methods take raw bytes. Generated handlers answer bytes that are no valid message,
// such as a string that is not UTF-8, with UNIMPLEMENTED and no word; ours say INVALID_ARGUMENT.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "node/convert_answer.h"
#include "node/convert_status.h"
#include "node/node.h"

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
  Node& node;
  Rpc rpc;
  grpc::CallbackServerContext& context;
  const grpc::ByteBuffer& request;
  grpc::ByteBuffer& response;
};

// `answer` turns a Message into a Result of the response. Any thread; it may take its time.
template <typename Message, typename Answer>
Status answer_message(NowCall call, const Answer& answer) {
  if (const auto tenant = call.node.gate().admit(call.rpc, call.context); !tenant.ok()) {
    return tenant.status();
  }
  const Result<Message> message = parse_message<Message>(call.request);
  if (!message.ok()) return message.status();
  const auto response = answer(*message);
  if (response.ok()) call.response = serialize(*response);
  return response.status();
}

// The same as a whole call, counted.
template <typename Message, typename Answer>
grpc::ServerUnaryReactor* answer_now(NowCall call, const Answer& answer) {
  grpc::ServerUnaryReactor* reactor = call.context.DefaultReactor();
  RpcMeter meter(call.node.metrics().rpcs, call.rpc);
  meter.received(call.request.Length());
  const Status status = answer_message<Message>(call, answer);
  if (status.ok()) meter.sent(call.response.Length());
  meter.ended(status.code());
  reactor->Finish(to_grpc(status, call.context));
  return reactor;
}

}  // namespace switchyard
