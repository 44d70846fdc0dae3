// Prompts that somebody wrote down: one JSON object a line. Lines with the same "session" are the
// turns of one conversation, in the order of the file.
//
//   {"text": "Once upon"}
//   {"messages": [{"role": "user", "content": "Hi"}], "session": "a", "answer_tokens": 40}
//   {"token_ids": [5, 6, 7], "class": "batch"}
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "client/load/load_spec.h"
#include "client/load/request_maker.h"

namespace switchyard {

struct PromptLine {
  v1::GenerateRequest prompt;  // only its input
  size_t class_index = 0;
  int32_t answer_tokens = -1;  // -1: the class's
};

// Conversations in the order of their first lines.
using PromptFile = std::vector<std::vector<PromptLine>>;

struct PromptLimits {
  size_t line_bytes = 16 << 20;
  size_t lines = 10'000'000;
};

// Fails at the first line that is wrong, and names it. Blank lines are left out.
absl::StatusOr<PromptFile> read_prompts(std::istream& in,
                                        const std::vector<ClassSpec>& classes,
                                        const PromptLimits& limits);

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
