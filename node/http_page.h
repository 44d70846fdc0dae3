// HttpPage: one page over HTTP/1, on connections that somebody else has accepted. One answer each,
// on a thread of its own. Reads no more of a request than its head.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "node/http_head.h"
#include "node/socket.h"

namespace switchyard {

// To a whole head: the page (200) to GET and HEAD of `path`, else 404 or 405; to a wrong one 400
// or 431. `render` is called when there is a page to send.
std::string http_answer(const HttpHead& head,
                        std::string_view path,
                        const std::function<std::string()>& render);

class HttpPage {
 public:
  struct Page {
    std::string path;
    std::function<std::string()> render;  // on the page's thread
  };
  explicit HttpPage(Page page);
  ~HttpPage();  // closes every connection

  // Any thread; does not wait. A connection over kMostConnections is closed.
  void take(Socket socket);

  static constexpr size_t kMostConnections = 64;
  static constexpr Duration kHeadLimit = std::chrono::seconds(1);    // of the whole head
  static constexpr Duration kAnswerLimit = std::chrono::seconds(5);  // and of sending and closing

 private:
  enum class State { kReading, kSending, kClosing };
  struct Connection {
    Connection(Socket from, TimePoint head_deadline)
        : socket(std::move(from)), deadline(head_deadline) {}
    Socket socket;
    TimePoint deadline;
    State state = State::kReading;
    std::string received;
    std::string answer;
    size_t sent = 0;
  };

  void run();
  void take_arrived();
  // False: it is over. Each goes on until the socket has nothing more.
  bool advance(Connection& connection);
  bool read_request(Connection& connection);
  bool send_answer(Connection& connection);

  const Page page_;
  Poller poller_;

  std::mutex mutex_;
  std::vector<Socket> arrived_;  // guarded by mutex_
  size_t open_ = 0;              // guarded by mutex_: with those that arrived
  bool stopping_ = false;        // guarded by mutex_

  std::vector<Connection> connections_;  // the page's thread's alone
  std::thread thread_;
};

}  // namespace switchyard
