// `switchyard generate`: one prompt, one answer, streamed as text or whole as JSON.
#pragma once

#include <iosfwd>
#include <string>

#include "client/cli/flags.h"
#include "client/cli/output.h"
#include "client/rpc/answer.h"

namespace switchyard {

struct GenerateFlags {
  NodeFlags node;
  AnswerFlags answer;
  std::string prompt;  // "-": all of standard input
  bool json = false;
  bool stats = false;

  void add_to(CLI::App& command);
};

// Exit code: 0, or 1 when the node failed (the reason is in `output.messages`).
int generate(const GenerateFlags& flags,
             v1::GenerationService::Stub& stub,
             std::istream& input,
             Output output);

int run_generate(const GenerateFlags& flags);

}  // namespace switchyard
