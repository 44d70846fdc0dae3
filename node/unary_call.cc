#include "node/unary_call.h"

#include <utility>

#include "node/convert_status.h"

namespace switchyard {

UnaryCall* UnaryCall::start(AnswerCallParts parts,
                            const QuestionReader& read,
                            grpc::ByteBuffer& response) {
  auto* call = new UnaryCall(parts, response);
  const Status status = call->begin(read);
  if (!status.ok()) call->Finish(to_grpc(status, parts.context));
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
  if (const std::optional<EndOfAnswer> end = gather()) Finish(to_grpc(end->status, context()));
}

void UnaryCall::OnDone() {
  leave();
  // What gather() last did under the lock happened before this.
  { std::lock_guard lock(mutex_); }
  delete this;
}

}  // namespace switchyard
