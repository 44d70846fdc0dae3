#include "client/load/sharegpt.h"

#include <array>
#include <string_view>
#include <utility>

#include "client/load/json_fields.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr const char* kList = "conversations";
constexpr size_t kMostMessages = 100'000;

enum class Speaker { kSystem, kHuman, kAssistant, kOther };

Speaker speaker_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Speaker>, 8> kSpeakers = {
      {{"system", Speaker::kSystem},
       {"human", Speaker::kHuman},
       {"user", Speaker::kHuman},
       {"gpt", Speaker::kAssistant},
       {"assistant", Speaker::kAssistant},
       {"chatgpt", Speaker::kAssistant},
       {"bing", Speaker::kAssistant},
       {"bard", Speaker::kAssistant}}};
  for (const auto& [known, speaker] : kSpeakers) {
    if (known == name) return speaker;
  }
  return Speaker::kOther;
}

}  // namespace

bool is_sharegpt(const nlohmann::json& entry) { return entry.is_object() && entry.contains(kList); }

std::vector<PromptLine> read_sharegpt(const nlohmann::json& entry, std::string& problem) {
  std::vector<PromptLine> turns;
  JsonFields fields(entry, "", problem);
  const nlohmann::json* list = fields.array(kList, kMostMessages);
  if (list == nullptr) return turns;
  PromptLine turn;
  bool asked = false;
  const auto end_turn = [&](std::string answer) {
    turn.recorded_answer = std::move(answer);
    turns.push_back(std::exchange(turn, {}));
    asked = false;
  };
  for (size_t i = 0; i < list->size(); ++i) {
    JsonFields message((*list)[i], words(kList, "[", i, "]"), problem);
    std::string from;
    std::string value;
    message.text("from", from, 64);
    message.text("value", value, SIZE_MAX);
    for (const char* name : {"from", "value"}) {
      if (!message.has(name)) message.complain(name, "is missing");
    }
    const Speaker speaker = speaker_of(from);
    if (speaker == Speaker::kOther) break;
    if (speaker == Speaker::kAssistant) {
      if (asked) end_turn(std::move(value));
      continue;
    }
    v1::ChatMessage& said = *turn.prompt.mutable_chat()->add_messages();
    said.set_role(speaker == Speaker::kSystem ? "system" : "user");
    said.set_content(std::move(value));
    asked |= speaker == Speaker::kHuman;
  }
  if (asked) end_turn("");
  return turns;
}

}  // namespace switchyard
