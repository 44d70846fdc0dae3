// One HTTP/1.1 GET of a small page, bounded in size and in time. Plain HTTP, no redirects, no
// connection kept: enough for a node's /metrics, and no HTTP client for anything else.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard {

struct HttpUrl {
  std::string host;  // name or address; an IPv6 address without its brackets
  std::string port = "80";
  std::string path = "/";
};

// "http://HOST[:PORT][/PATH]" or "HOST:PORT[/PATH]"; a path that is not given becomes `path`.
absl::StatusOr<HttpUrl> parse_http_url(std::string_view text, std::string_view path);

struct HttpLimits {
  std::chrono::milliseconds time{1000};  // of the whole exchange, the look-up of the name included
  uint64_t body_bytes = 8 << 20;
};

// The body of a reply with status 200. The calling thread waits, no longer than limits.time and,
// where the system's resolver hangs, what that takes.
absl::StatusOr<std::string> http_get(const HttpUrl& url, const HttpLimits& limits);

}  // namespace switchyard
