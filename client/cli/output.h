// How answers and their counts appear on a terminal or in a pipe.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "client/rpc/answer.h"

namespace switchyard {

// A model's text may hold escape sequences; a terminal must not obey them. Leaves whole UTF-8
// characters, newlines and tabs, and shows any other control character as U+FFFD.
std::string without_controls(std::string_view text);

// "[12 prompt + 5 answer tokens; first token after 18 ms; 212.4 tokens/s; ended by eos]"
std::string summary(const Answer& answer);

// The message as JSON on several lines, fields named as in the .proto, zeros included.
std::string to_json(const google::protobuf::Message& message);

// Where a command writes: answers, and what is not an answer.
struct Output {
  std::ostream& answers;
  std::ostream& messages;
};

}  // namespace switchyard
