// StreamCall: the write reactor of one streamed answer. One write is in flight at a time; a client
// that goes away cancels the work; response headers leave with the first message.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <mutex>
#include <optional>

#include "node/answer_call.h"

namespace switchyard {

class StreamCall final : public AnswerCall, public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // What a handler returns. Owned by itself: gRPC's OnDone deletes it.
  static StreamCall* start(AnswerCallParts parts, const QuestionReader& read);

  void advance() override;

 private:
  explicit StreamCall(AnswerCallParts parts) : AnswerCall(parts) {}

  void OnWriteDone(bool ok) override;
  void OnCancel() override { cancel(); }
  void OnDone() override;

  struct Move {
    bool write = false;
    std::optional<grpc::Status> finish;  // with the write, if there is one
  };
  Move next_move();
  bool fetch();

  std::mutex mutex_;                      // guards everything below, held in no call of gRPC's
  std::deque<grpc::ByteBuffer> backlog_;  // messages made and not written
  grpc::ByteBuffer written_;              // the write in flight
  std::optional<grpc::Status> final_;     // the answer has ended
  bool head_sent_ = false;
  bool broken_ = false;  // a write failed: nobody reads any more
};

}  // namespace switchyard
