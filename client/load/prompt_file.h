// Prompts that somebody wrote down: JSON objects, one a line or all in an array. Those with the
// same "session" are the turns of one conversation, in the order of the file.
//
//   {"text": "Once upon"}
//   {"messages": [{"role": "user", "content": "Hi"}], "session": "a", "answer_tokens": 40}
//   {"token_ids": [5, 6, 7], "class": "batch"}
//   {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}
//
// The last is ShareGPT's: all turns of a conversation with the answers that were given. They are
// asked again turn by turn; a recorded answer gives the length of the new one (sharegpt.h).
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "client/load/documents.h"
#include "client/load/load_spec.h"
#include "client/load/request_maker.h"

namespace switchyard {

struct PromptLine {
  v1::GenerateRequest prompt;  // only its input
  size_t class_index = 0;
  int32_t answer_tokens = -1;   // -1: the class's
  std::string recorded_answer;  // whose length is to become answer_tokens; empty: there is none
};

// Conversations in the order of their first lines.
using PromptFile = std::vector<std::vector<PromptLine>>;

// Fails at the first object that is wrong, and names it.
absl::StatusOr<PromptFile> read_prompts(std::istream& in,
                                        const std::vector<ClassSpec>& classes,
                                        const DocumentLimits& limits);

// The tokens of each text, as the model counts them.
using CountTokens =
    std::function<absl::StatusOr<std::vector<int32_t>>(const std::vector<std::string_view>& texts)>;

// Recorded answers of the first `conversations` become lengths, and are dropped everywhere.
absl::Status count_recorded_answers(PromptFile& file,
                                    size_t conversations,
                                    const CountTokens& count);

// Goes through the file again and again; each time its conversations are new ones.
class PromptSource final : public ConversationSource {
 public:
  PromptSource(PromptFile file, std::vector<ClassSpec> classes, MakerOptions options);

  std::optional<Conversation> next() override;

 private:
  const PromptFile file_;
  const std::vector<ClassSpec> classes_;
  const MakerOptions options_;
  int64_t next_ = 0;
};

}  // namespace switchyard
