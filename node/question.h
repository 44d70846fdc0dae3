// Question: what a caller asked, as the engine's own types, before it is tokens.
// convert_request makes it from protobuf, served_model turns its prompt into tokens, Request::make
// checks the rest.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/request/request.h"

namespace switchyard {

inline constexpr size_t kMaxLabelBytes = 256;

struct TextPrompt {
  std::string text;
  bool add_special_tokens = true;
};

struct ChatMessage {
  std::string role;
  std::string content;
};

struct ChatPrompt {
  std::vector<ChatMessage> messages;                                    // at least one
  nlohmann::ordered_json arguments = nlohmann::ordered_json::object();  // of the template
  bool add_generation_prompt = true;
};

using Prompt = std::variant<TextPrompt, std::vector<int32_t>, ChatPrompt>;

struct Question {
  std::string label;
  std::string model;  // empty: the node's only one
  Prompt prompt;
  std::optional<int> truncate_prompt_tokens;  // > 0: keeps the last so many
  SamplingParameters sampling;                // but for the seed
  std::optional<uint64_t> seed;
  StopCondition stop;  // but for max_new_tokens
  std::optional<int> max_new_tokens;
  int priority = 0;
};

}  // namespace switchyard
