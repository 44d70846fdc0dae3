// History: what has been said in a conversation so far, as the beginning of its next prompt.
// One thread's; knows nothing of calls and times.
#pragma once

#include "client/rpc/answer.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

class History {
 public:
  // `turn` with all that was said before in front of its own prompt. All turns of a conversation
  // have prompts of one kind: text, tokens or messages.
  [[nodiscard]] v1::GenerateRequest with(const v1::GenerateRequest& turn) const;

  // The turn was asked and `answer` is what came of it, all or part.
  void add(const v1::GenerateRequest& turn, const Answer& answer);

 private:
  v1::GenerateRequest said_;  // only its input
};

// Tokens of the prompt; -1: only a node can count them.
int32_t prompt_tokens(const v1::GenerateRequest& request);

}  // namespace switchyard
