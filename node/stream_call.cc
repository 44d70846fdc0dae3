#include "node/stream_call.h"

#include <utility>

namespace switchyard {

StreamCall* StreamCall::start(AnswerCallParts parts, const QuestionReader& read) {
  auto* call = new StreamCall(parts);
  const Status status = call->begin(read);
  if (!status.ok()) call->Finish(call->seal(status));
  return call;
}

void StreamCall::advance() {
  Move move = next_move();
  if (move.write) {
    on_write_begin();
    on_sent(written_.Length());
    if (move.finish) {
      StartWriteAndFinish(&written_, grpc::WriteOptions(), std::move(*move.finish));
    } else {
      StartWrite(&written_);
    }
  } else if (move.finish) {
    Finish(std::move(*move.finish));
  }
}

// Neither: the outbox is empty and will wake us.
StreamCall::Move StreamCall::next_move() {
  std::lock_guard lock(mutex_);
  while (backlog_.empty() && !final_) {
    if (!fetch()) return {};
  }
  Move move;
  if (!backlog_.empty()) {
    written_ = backlog_.front();  // counts references
    backlog_.pop_front();
    move.write = true;
  }
  if (backlog_.empty()) move.finish = final_;
  return move;
}

// One thing out of the outbox and into the backlog. False: there was none.
bool StreamCall::fetch() {
  Outbox::Item item = take();
  if (std::holds_alternative<std::monostate>(item)) return false;
  const auto* end = std::get_if<EndOfAnswer>(&item);
  if (end != nullptr) final_ = seal(end->status);
  if (broken_ || (end != nullptr && !end->status.ok())) return true;

  if (!std::exchange(head_sent_, true)) backlog_.push_back(format().started(head()));
  if (end != nullptr) {
    backlog_.push_back(format().finished(*end));
    backlog_.push_back(format().usage(*end));
  } else {
    backlog_.push_back(format().delta(std::get<AnswerDelta>(std::move(item))));
  }
  return true;
}

void StreamCall::OnWriteDone(bool ok) {
  on_write_end();
  if (!ok) {
    cancel();
    std::lock_guard lock(mutex_);
    broken_ = true;
    backlog_.clear();
  }
  advance();
}

void StreamCall::OnDone() {
  leave();
  // What advance() last did under the lock happened before this.
  { std::lock_guard lock(mutex_); }
  delete this;
}

}  // namespace switchyard
