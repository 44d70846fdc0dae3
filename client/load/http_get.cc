#include "client/load/http_get.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "client/load/failure.h"

namespace switchyard {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr uint32_t kHeaderBytes = 16 << 10;

// The steps of one exchange, each begun by the one before. Lives until io_context.run() is over.
class Exchange {
 public:
  Exchange(asio::io_context& io, const HttpUrl& url, const HttpLimits& limits)
      : url_(url), resolver_(io), stream_(io), buffer_(kHeaderBytes + limits.body_bytes) {
    request_.version(11);
    request_.method(http::verb::get);
    request_.target(url.path);
    const bool is_ipv6 = url.host.find(':') != std::string::npos;
    request_.set(http::field::host, (is_ipv6 ? "[" + url.host + "]" : url.host) + ":" + url.port);
    request_.set(http::field::accept, "text/plain;version=0.0.4");
    request_.set(http::field::user_agent, "switchyard-load");
    request_.set(http::field::connection, "close");
    parser_.header_limit(kHeaderBytes);
    parser_.body_limit(limits.body_bytes);
  }

  void start() {
    resolver_.async_resolve(url_.host, url_.port, [this](beast::error_code error, auto found) {
      if (failed("looking up the name", error)) return;
      stream_.async_connect(found, [this](beast::error_code connect_error, const auto&) {
        if (!failed("connecting", connect_error)) send();
      });
    });
  }

  void expire_after(std::chrono::milliseconds time) { stream_.expires_after(time); }

  absl::StatusOr<std::string> take() {
    if (!failure_.ok()) return failure_;
    if (!done_) return failure("no whole reply in time");
    const auto status = static_cast<unsigned>(parser_.get().result_int());
    if (status != 200) return failure("HTTP status ", status);
    return std::move(parser_.get().body());
  }

 private:
  void send() {
    http::async_write(stream_, request_, [this](beast::error_code error, size_t) {
      if (!failed("sending", error)) receive();
    });
  }
  void receive() {
    http::async_read(stream_, buffer_, parser_, [this](beast::error_code error, size_t) {
      done_ = !failed("reading the reply", error);
    });
  }
  bool failed(std::string_view doing, const beast::error_code& error) {
    if (!error) return false;
    failure_ = error == beast::error::timeout ? failure(doing, ": no end in time")
                                              : failure(doing, ": ", error.message());
    return true;
  }

  const HttpUrl& url_;
  tcp::resolver resolver_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  http::request<http::empty_body> request_;
  http::response_parser<http::string_body> parser_;
  absl::Status failure_;
  bool done_ = false;
};

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + (c - '0');
  }
  return value > 0 && value < 65'536;
}

}  // namespace

absl::StatusOr<HttpUrl> parse_http_url(std::string_view text, std::string_view path) {
  const auto wrong = [text](std::string_view why) { return failure("'", text, "': ", why); };
  std::string_view rest = text;
  constexpr std::string_view kScheme = "http://";
  if (rest.starts_with(kScheme)) {
    rest.remove_prefix(kScheme.size());
  } else if (rest.find("://") != std::string_view::npos) {
    return wrong("only http:// is spoken here");
  }
  for (const char c : rest) {
    if (c <= ' ' || c == 0x7F) return wrong("has blanks or control characters");
  }
  HttpUrl url;
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.path = slash < rest.size() ? rest.substr(slash) : path;
  rest = rest.substr(0, slash);
  if (rest.starts_with('[')) {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos) return wrong("a [ that is not closed");
    url.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
  } else {
    const size_t colon = std::min(rest.find(':'), rest.size());
    url.host = rest.substr(0, colon);
    rest.remove_prefix(colon);
  }
  if (url.host.empty()) return wrong("no host");
  if (!rest.empty()) {
    if (!rest.starts_with(':') || !is_port(rest.substr(1))) return wrong("no port from 1 to 65535");
    url.port = rest.substr(1);
  }
  return url;
}

absl::StatusOr<std::string> http_get(const HttpUrl& url, const HttpLimits& limits) {
  asio::io_context io(1);
  Exchange exchange(io, url, limits);
  exchange.expire_after(limits.time);
  exchange.start();
  // The stream's own timer ends what hangs; this ends what the timer does not cover, the look-up.
  io.run_for(limits.time + std::chrono::milliseconds(50));
  return exchange.take();
}

}  // namespace switchyard
