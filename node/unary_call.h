// UnaryCall: the reactor of one answer that is sent as a whole. The same machinery as a stream,
// with the additions put together instead of written.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <mutex>
#include <optional>

#include "node/answer_call.h"

namespace switchyard {

class UnaryCall final : public AnswerCall, public grpc::ServerUnaryReactor {
 public:
  // What a handler returns; `response` lives as long as the call. Owned by itself: gRPC's OnDone
  // deletes it.
  static UnaryCall* start(AnswerCallParts parts,
                          const QuestionReader& read,
                          grpc::ByteBuffer& response);

  void advance() override;

 private:
  UnaryCall(AnswerCallParts parts, grpc::ByteBuffer& response)
      : AnswerCall(parts), response_(response) {}

  void OnCancel() override { cancel(); }
  void OnDone() override;

  // The end, if it has come.
  std::optional<EndOfAnswer> gather();

  grpc::ByteBuffer& response_;
  std::mutex mutex_;
  AnswerDelta all_;  // guarded by mutex_
};

}  // namespace switchyard
