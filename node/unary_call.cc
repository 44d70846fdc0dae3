#include "node/unary_call.h"

#include <utility>

namespace switchyard {

UnaryCall* UnaryCall::start(AnswerCallParts parts,
                            const QuestionReader& read,
                            grpc::ByteBuffer& response) {
  auto* call = new UnaryCall(parts, response);
  const Status status = call->begin(read);
  if (!status.ok()) call->Finish(call->seal(status));
  return call;
}

std::optional<EndOfAnswer> UnaryCall::gather() {
  std::lock_guard lock(mutex_);
  while (true) {
    Outbox::Item item = take();
    if (auto* delta = std::get_if<AnswerDelta>(&item)) {
      merge(all_, std::move(*delta));
      continue;
    }
    auto* end = std::get_if<EndOfAnswer>(&item);
    if (end == nullptr) return std::nullopt;
    if (end->status.ok()) response_ = format().whole(head(), std::move(all_), *end);
    return std::move(*end);
  }
}

void UnaryCall::advance() {
  const std::optional<EndOfAnswer> end = gather();
  if (!end) return;
  if (end->status.ok()) on_sent(response_.Length());
  Finish(seal(end->status));
}

void UnaryCall::OnDone() {
  leave();
  // What gather() last did under the lock happened before this.
  { std::lock_guard lock(mutex_); }
  delete this;
}

}  // namespace switchyard
