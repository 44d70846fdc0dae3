// HttpPage: one page over HTTP/1, on connections that somebody else has accepted. One answer each,
// on a thread of its own. Reads no more of a request than its head.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "engine/base/clock.h"

namespace boost::asio {
class io_context;
}

namespace switchyard {

// Of a request, with the empty line at its end.
inline constexpr size_t kMostHeadBytes = 8192;

class HttpPage {
 public:
  struct Page {
    std::string path;
    std::function<std::string()> render;  // on the page's thread
  };
  explicit HttpPage(Page page);
  ~HttpPage();  // closes every connection

  // Any thread; does not wait. Owns the descriptor from now on. A connection over kMostConnections
  // is closed.
  void take(int socket);

  static constexpr size_t kMostConnections = 64;
  static constexpr Duration kHeadLimit = std::chrono::seconds(1);    // of the whole head
  static constexpr Duration kAnswerLimit = std::chrono::seconds(5);  // and of sending and closing

 private:
  const Page page_;
  std::atomic<size_t> open_{0};
  const std::unique_ptr<boost::asio::io_context> io_;
  std::thread thread_;
};

// To a whole head: the page (200) to GET and HEAD of its path, else 404 or 405; to a wrong one 400
// or 431. Nothing: more has to come. Renders only a page that is to be sent.
std::optional<std::string> http_answer(std::string_view received, const HttpPage::Page& page);

}  // namespace switchyard
