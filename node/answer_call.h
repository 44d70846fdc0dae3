// AnswerCall: one call that asked for an answer, from its bytes to the engine and back. What a
// stream and its unary twin share; how messages leave is stream_call's and unary_call's.
#pragma once

#include <grpcpp/server_context.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "node/convert_answer.h"
#include "node/courier.h"
#include "node/node.h"
#include "node/outbox.h"
#include "node/question.h"

namespace switchyard {

// Reads the question out of the call's bytes, with the model's sampling defaults.
using QuestionReader = std::function<Result<Question>(const SamplingParameters& defaults)>;

struct AnswerCallParts {
  Node& node;
  grpc::CallbackServerContext& context;
  const AnswerFormat& format;  // outlives the call
  AnswerMethod method;
  size_t request_bytes;
};

// Lives from the handler until gRPC is done with the call, which is after the engine ended the
// answer. One thread at a time advances it (see Outbox); cancel() comes on any.
class AnswerCall : public Courier::Call {
 public:
  explicit AnswerCall(AnswerCallParts parts);

  void check_reader(TimePoint now) override;

 protected:
  // On the handler's thread, before gRPC may report anything about the call. Not ok: it was
  // refused, counted and logged, and there is nothing to wait for.
  [[nodiscard]] Status begin(const QuestionReader& read);
  // The client is gone, or its deadline has passed. Any thread, after begin().
  void cancel();
  // gRPC is done with the call: nothing of it is used any more.
  void leave();

  // The next thing to send; an end is counted and logged when it is taken.
  Outbox::Item take();
  // What gRPC is to end the call with, for `status`: once, before anything that sends it.
  [[nodiscard]] grpc::Status seal(const Status& status);
  void on_sent(size_t bytes) { meter_.sent(bytes); }
  // Around a write, for check_reader().
  void on_write_begin() { write_began_ = parts_.node.clock().now(); }
  void on_write_end() { write_began_ = kNever; }

  [[nodiscard]] const AnswerHead& head() const { return head_; }
  [[nodiscard]] const AnswerFormat& format() const { return parts_.format; }
  [[nodiscard]] grpc::CallbackServerContext& context() const { return parts_.context; }

 private:
  [[nodiscard]] Status submit(const QuestionReader& read);
  void on_ended(const EndOfAnswer& end);

  const AnswerCallParts parts_;
  RpcMeter meter_;
  const TimePoint arrival_;
  const TimePoint deadline_;
  // Set by begin(), then constant. gRPC orders its reports after begin() and before the call's end;
  // begin(), cancel() and leave() hold this, so that the order is also plain to see.
  std::mutex mutex_;
  Serving* serving_ = nullptr;
  std::string label_;
  std::string tenant_;
  AnswerHead head_;
  std::shared_ptr<Outbox> outbox_;

  std::atomic<TimePoint> write_began_{kNever};  // any thread
  bool abandoned_ = false;                      // courier's thread
};

}  // namespace switchyard
