// How an HTTP/1 request begins: whether the first bytes of a connection are one, and what is asked
// for. Reads bytes of anybody; answers nothing.
#pragma once

#include <cstddef>
#include <string_view>

namespace switchyard {

enum class Greeting {
  kUndecided,  // an HTTP/1 request may come of it
  kHttp1,
  kOther,  // HTTP/2's preface, a TLS hello, anything else
};

// More bytes than this are never undecided.
inline constexpr size_t kGreetingBytes = 8;

Greeting greeting_of(std::string_view first_bytes);

struct HttpHead {
  enum class State { kPartial, kWhole, kMalformed, kTooLarge };
  State state = State::kPartial;
  // Of a whole one, within what was read. The path is without its query.
  std::string_view method, path;
};

// With the empty line at its end.
inline constexpr size_t kMostHeadBytes = 8192;

// `received`: all bytes so far. What is whole, malformed or too large stays so with more of them.
HttpHead read_head(std::string_view received);

}  // namespace switchyard
