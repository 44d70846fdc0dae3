#include "node/http_page.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <sstream>
#include <string_view>
#include <utility>

namespace switchyard {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using beast::error_code;

http::response<http::string_body> response_of(http::status status, std::string body) {
  http::response<http::string_body> response(status, 11, std::move(body));
  response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
  response.content_length(response.body().size());
  response.keep_alive(false);
  return response;
}

// Of a request whose first line has come: of a method that nobody knows, or for a target with bytes
// that none may have. Beast takes both.
bool is_wrong(const http::request<http::empty_body>& request) {
  const auto target = request.target();
  return !target.empty() &&
         (request.method() == http::verb::unknown ||
          std::any_of(target.begin(), target.end(), [](char c) { return c <= ' ' || c > '~'; }));
}

http::response<http::string_body> response_to(const http::request<http::empty_body>& request,
                                              const HttpPage::Page& page) {
  const std::string_view target(request.target().data(), request.target().size());
  if (target.substr(0, target.find('?')) != page.path) {
    return response_of(http::status::not_found, "there is " + page.path + ", and gRPC\n");
  }
  if (request.method() == http::verb::get || request.method() == http::verb::head) {
    return response_of(http::status::ok, page.render());
  }
  auto response = response_of(http::status::method_not_allowed, "GET or HEAD\n");
  response.set(http::field::allow, "GET, HEAD");
  return response;
}

// One connection: each step begins the next, and the last one's end closes it.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(const HttpPage::Page& page, std::atomic<size_t>& open, tcp::socket socket)
      : page_(page), open_(open), stream_(std::move(socket)) {
    ++open_;
  }
  ~Exchange() { --open_; }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void start() {
    stream_.expires_after(HttpPage::kHeadLimit);
    read_more();
  }

 private:
  void read_more() {
    stream_.async_read_some(asio::buffer(bytes_),
                            [self = shared_from_this()](error_code error, size_t count) {
                              if (!error) self->take({self->bytes_.data(), count});
                            });
  }
  void take(std::string_view bytes) {
    // Closing with bytes unread would reset the connection, and the answer with it.
    if (!answer_.empty()) return read_more();
    received_ += bytes;
    std::optional<std::string> answer = http_answer(received_, page_);
    if (!answer) return read_more();
    answer_ = std::move(*answer);
    stream_.expires_after(HttpPage::kAnswerLimit);
    asio::async_write(stream_, asio::buffer(answer_),
                      [self = shared_from_this()](error_code error, size_t) {
                        if (error) return;
                        self->stream_.socket().shutdown(tcp::socket::shutdown_send, error);
                        self->read_more();
                      });
  }

  const HttpPage::Page& page_;
  std::atomic<size_t>& open_;
  beast::tcp_stream stream_;
  std::array<char, 4096> bytes_;
  std::string received_, answer_;
};

}  // namespace

std::optional<std::string> http_answer(std::string_view received, const HttpPage::Page& page) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMostHeadBytes);  // of the first line, and of the fields
  parser.skip(true);                    // whatever body it announces
  error_code error;
  parser.put(asio::buffer(received.substr(0, kMostHeadBytes)), error);
  http::response<http::string_body> response;
  const bool unfinished = error == http::error::need_more || error == http::error::header_limit;
  if (is_wrong(parser.get()) || (error && !unfinished)) {
    response = response_of(http::status::bad_request, "not an HTTP/1 request\n");
  } else if (!error) {
    response = response_to(parser.get(), page);
  } else if (received.size() < kMostHeadBytes) {
    return std::nullopt;
  } else {
    response = response_of(http::status::request_header_fields_too_large,
                           "the head has over " + std::to_string(kMostHeadBytes) + " bytes\n");
  }
  if (parser.get().method() == http::verb::head) response.body().clear();
  std::ostringstream text;
  text << response;
  return std::move(text).str();
}

HttpPage::HttpPage(Page page)
    : page_(std::move(page)), io_(std::make_unique<asio::io_context>(1)), thread_([this] {
        const auto also_without_connections = asio::make_work_guard(*io_);
        io_->run();
      }) {}

HttpPage::~HttpPage() {
  io_->stop();
  thread_.join();
}

void HttpPage::take(int socket) {
  tcp::socket owner(*io_);
  error_code error;
  owner.assign(tcp::v6(), socket, error);  // or v4: that only matters where sockets are made
  if (error) {
    ::close(socket);
    return;
  }
  auto exchange = std::make_shared<Exchange>(page_, open_, std::move(owner));
  if (open_ <= kMostConnections)
    asio::post(*io_, [exchange = std::move(exchange)] { exchange->start(); });
}

}  // namespace switchyard
