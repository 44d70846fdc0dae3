#include "client/load/history.h"

namespace switchyard {
namespace {

// Adds `turn`'s input at the end of `said`'s.
void append_input(const v1::GenerateRequest& turn, v1::GenerateRequest& said) {
  switch (turn.input_case()) {
    case v1::GenerateRequest::kText:
      said.mutable_text()->append(turn.text());
      return;
    case v1::GenerateRequest::kTokenIds:
      said.mutable_token_ids()->MergeFrom(turn.token_ids());
      return;
    case v1::GenerateRequest::kChat:
      said.mutable_chat()->MergeFrom(turn.chat());
      return;
    case v1::GenerateRequest::INPUT_NOT_SET:
      return;
  }
}

}  // namespace

v1::GenerateRequest History::with(const v1::GenerateRequest& turn) const {
  if (said_.input_case() == v1::GenerateRequest::INPUT_NOT_SET) return turn;
  v1::GenerateRequest whole = said_;
  append_input(turn, whole);
  v1::GenerateRequest rest = turn;
  rest.clear_input();
  whole.MergeFrom(rest);
  return whole;
}

void History::add(const v1::GenerateRequest& turn, const Answer& answer) {
  append_input(turn, said_);
  switch (turn.input_case()) {
    case v1::GenerateRequest::kText:
      said_.mutable_text()->append(answer.text);
      return;
    case v1::GenerateRequest::kTokenIds:
      said_.mutable_token_ids()->mutable_ids()->Add(answer.token_ids.begin(),
                                                    answer.token_ids.end());
      return;
    case v1::GenerateRequest::kChat: {
      v1::ChatMessage& message = *said_.mutable_chat()->add_messages();
      message.set_role("assistant");
      message.set_content(answer.text);
      return;
    }
    case v1::GenerateRequest::INPUT_NOT_SET:
      return;
  }
}

int32_t prompt_tokens(const v1::GenerateRequest& request) {
  return request.has_token_ids() ? request.token_ids().ids_size() : -1;
}

}  // namespace switchyard
