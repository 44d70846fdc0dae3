// Conversations as ShareGPT's files hold them: who said what, in turn.
//
//   {"id": "x", "conversations": [{"from": "human", "value": "Hi"},
//                                 {"from": "gpt", "value": "Hello!"}, ...]}
//
// "system" may come first; "user" is "human", and "assistant", "chatgpt", "bing" and "bard" are
// "gpt". Other fields of an entry are nobody's business here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/load/prompt_file.h"

namespace switchyard {

bool is_sharegpt(const nlohmann::json& entry);

// A turn for everything that the human said until the next answer, which is its recorded one. What
// an assistant said unasked is left out; the conversation ends before whoever is none of the above,
// such as a tool. No turns: nothing was asked in it. `problem`: what is wrong with it, if anything.
std::vector<PromptLine> read_sharegpt(const nlohmann::json& entry, std::string& problem);

}  // namespace switchyard
