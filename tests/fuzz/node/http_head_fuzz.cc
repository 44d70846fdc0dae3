// Any bytes as the beginning of a connection: what is decided of some of them is what is decided of
// all, and a head that is whole lies within its limit.
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/base/check.h"
#include "node/http_head.h"
#include "node/http_page.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const Greeting greeting = greeting_of(text.substr(0, kGreetingBytes));
  CHECK(greeting_of(text) == greeting);
  CHECK(size < kGreetingBytes || greeting != Greeting::kUndecided);
  if (text.starts_with("PRI * HTTP/2.0") || text.starts_with('\x16')) {
    CHECK(greeting == Greeting::kOther);
  }

  const HttpHead head = read_head(text);
  if (head.state == HttpHead::State::kPartial) CHECK(size < kMostHeadBytes);
  if (head.state == HttpHead::State::kWhole) {
    CHECK(!head.method.empty() && head.method.data() == text.data());
    CHECK(text.substr(head.method.size() + 1).starts_with(head.path));
    CHECK(text.substr(0, kMostHeadBytes).find("\r\n\r\n") != std::string_view::npos);
  }
  const auto render = [] { return std::string("page"); };
  const std::string answer = http_answer(head, "/metrics", render);
  CHECK(answer.starts_with("HTTP/1.1 ") && answer.size() < 300);

  std::optional<HttpHead> decided;
  std::optional<Greeting> greeted;
  for (size_t length = 0; length <= size && length <= 64; ++length) {
    const HttpHead part = read_head(text.substr(0, length));
    if (decided) CHECK(part.state == decided->state && part.path == decided->path);
    if (part.state != HttpHead::State::kPartial) decided = part;
    const Greeting so_far = greeting_of(text.substr(0, length));
    if (greeted) CHECK(so_far == *greeted);
    if (so_far != Greeting::kUndecided) greeted = so_far;
  }
  if (decided) CHECK(head.state == decided->state && head.path == decided->path);
  return 0;
}
