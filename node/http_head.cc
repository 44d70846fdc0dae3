#include "node/http_head.h"

#include <algorithm>
#include <array>

namespace switchyard {
namespace {

// None is the beginning of HTTP/2's "PRI * HTTP/2.0" or of a TLS record.
constexpr std::array<std::string_view, 9> kMethods = {
    "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ", "CONNECT "};
static_assert(std::ranges::max(kMethods, {}, &std::string_view::size).size() == kGreetingBytes);

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

bool is_method(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return (c >= 'A' && c <= 'Z') || c == '-'; });
}

bool is_target(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_http1(std::string_view text) { return text == "HTTP/1.1" || text == "HTTP/1.0"; }

// METHOD SP TARGET SP HTTP/1.x
HttpHead read_request_line(std::string_view line) {
  HttpHead malformed{.state = HttpHead::State::kMalformed, .method = {}, .path = {}};
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return malformed;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_method(method) || !is_target(target) || !is_http1(line.substr(last + 1))) {
    return malformed;
  }
  return {.state = HttpHead::State::kWhole,
          .method = method,
          .path = target.substr(0, target.find('?'))};
}

}  // namespace

Greeting greeting_of(std::string_view first_bytes) {
  for (const std::string_view method : kMethods) {
    if (first_bytes.starts_with(method)) return Greeting::kHttp1;
    if (method.starts_with(first_bytes)) return Greeting::kUndecided;
  }
  return Greeting::kOther;
}

HttpHead read_head(std::string_view received) {
  const std::string_view within = received.substr(0, kMostHeadBytes);
  HttpHead head;
  if (const size_t line_end = within.find(kLineEnd); line_end != std::string_view::npos) {
    head = read_request_line(within.substr(0, line_end));
    if (head.state == HttpHead::State::kMalformed) return head;
  }
  if (within.find(kHeadEnd) != std::string_view::npos) return head;
  return {.state = received.size() >= kMostHeadBytes ? HttpHead::State::kTooLarge
                                                     : HttpHead::State::kPartial,
          .method = {},
          .path = {}};
}

}  // namespace switchyard
