// Any bytes as the beginning of a connection: what is decided of some of them is what is decided of
// all, and a head that is answered with the page lies within its limit.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/base/check.h"
#include "node/http_page.h"
#include "node/port_mux.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const Greeting greeting = greeting_of(text.substr(0, kGreetingBytes));
  CHECK(greeting_of(text) == greeting);
  CHECK(size < kGreetingBytes || greeting != Greeting::kUndecided);
  if (text.starts_with("PRI * HTTP/2.0") || text.starts_with('\x16')) {
    CHECK(greeting == Greeting::kOther);
  }

  int rendered = 0;
  const HttpPage::Page page{"/metrics", [&rendered] {
                              ++rendered;
                              return std::string("page");
                            }};
  const std::optional<std::string> answer = http_answer(text, page);
  if (!answer) CHECK(size < kMostHeadBytes);
  if (answer) CHECK(answer->starts_with("HTTP/1.1 ") && answer->size() < 300);
  CHECK(rendered == (answer && answer->starts_with("HTTP/1.1 200 ") ? 1 : 0));
  if (rendered == 1) {
    CHECK(text.starts_with("GET /metrics") || text.starts_with("HEAD /metrics"));
    CHECK(text.substr(0, kMostHeadBytes).find("\r\n\r\n") != std::string_view::npos);
  }

  std::optional<std::string> decided;
  std::optional<Greeting> greeted;
  for (size_t length = 0; length <= size && length <= 64; ++length) {
    const std::optional<std::string> part = http_answer(text.substr(0, length), page);
    if (decided) CHECK(part == decided);
    if (part) decided = part;
    const Greeting so_far = greeting_of(text.substr(0, length));
    if (greeted) CHECK(so_far == *greeted);
    if (so_far != Greeting::kUndecided) greeted = so_far;
  }
  if (decided) CHECK(answer == decided);
  return 0;
}
