#include "node/http_page.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace switchyard {
namespace {

struct Line {
  std::string_view status;
  std::string_view more_headers;
  std::string body;
};

TimePoint now() { return std::chrono::steady_clock::now(); }

bool would_block() { return errno == EAGAIN || errno == EINTR; }

std::string with_headers(const Line& line) {
  std::string all = "HTTP/1.1 ";
  all += line.status;
  all += "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: ";
  all += std::to_string(line.body.size());
  all += "\r\nConnection: close\r\n";
  all += line.more_headers;
  all += "\r\n";
  return all;
}

Line line_of(const HttpHead& head,
             std::string_view path,
             const std::function<std::string()>& render) {
  switch (head.state) {
    case HttpHead::State::kMalformed:
      return {"400 Bad Request", "", "not an HTTP/1 request\n"};
    case HttpHead::State::kTooLarge:
      return {"431 Request Header Fields Too Large", "",
              "the head has over " + std::to_string(kMostHeadBytes) + " bytes\n"};
    default:
      break;
  }
  if (head.path != path) {
    return {"404 Not Found", "", "there is " + std::string(path) + ", and gRPC\n"};
  }
  if (head.method != "GET" && head.method != "HEAD") {
    return {"405 Method Not Allowed", "Allow: GET, HEAD\r\n", "GET or HEAD\n"};
  }
  return {"200 OK", "", render()};
}

}  // namespace

std::string http_answer(const HttpHead& head,
                        std::string_view path,
                        const std::function<std::string()>& render) {
  const Line line = line_of(head, path, render);
  std::string answer = with_headers(line);
  if (head.method != "HEAD") answer += line.body;
  return answer;
}

HttpPage::HttpPage(Page page) : page_(std::move(page)), thread_([this] { run(); }) {}

HttpPage::~HttpPage() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  poller_.wake();
  thread_.join();
}

void HttpPage::take(Socket socket) {
  {
    std::lock_guard lock(mutex_);
    if (open_ == kMostConnections) return;
    ++open_;
    arrived_.push_back(std::move(socket));
  }
  poller_.wake();
}

void HttpPage::run() {
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    take_arrived();
    TimePoint first = kNever;
    for (const Connection& each : connections_) first = std::min(first, each.deadline);
    for (const int ready : poller_.wait(first)) {
      const auto found = std::ranges::find(
          connections_, ready, [](const Connection& each) { return each.socket.number(); });
      if (found != connections_.end() && !advance(*found)) connections_.erase(found);
    }
    std::erase_if(connections_, [](const Connection& each) { return each.deadline <= now(); });
    std::lock_guard lock(mutex_);
    open_ = connections_.size() + arrived_.size();
  }
}

void HttpPage::take_arrived() {
  std::vector<Socket> arrived;
  {
    std::lock_guard lock(mutex_);
    arrived.swap(arrived_);
  }
  for (Socket& socket : arrived) {
    poller_.add(socket, EPOLLIN);
    connections_.emplace_back(std::move(socket), now() + kHeadLimit);
  }
}

bool HttpPage::advance(Connection& connection) {
  if (connection.state == State::kReading && !read_request(connection)) return false;
  if (connection.state == State::kSending && !send_answer(connection)) return false;
  if (connection.state != State::kClosing) return true;
  // Closing with bytes unread would reset the connection, and the answer with it.
  std::array<char, 4096> ignored;
  const ssize_t count = recv(connection.socket.number(), ignored.data(), ignored.size(), 0);
  return count > 0 || (count < 0 && would_block());
}

bool HttpPage::read_request(Connection& connection) {
  std::array<char, 4096> bytes;
  const ssize_t count = recv(connection.socket.number(), bytes.data(), bytes.size(), 0);
  if (count == 0) return false;
  if (count < 0) return would_block();
  connection.received.append(bytes.data(), static_cast<size_t>(count));
  const HttpHead head = read_head(connection.received);
  if (head.state == HttpHead::State::kPartial) return true;
  connection.answer = http_answer(head, page_.path, page_.render);
  connection.state = State::kSending;
  connection.deadline = now() + kAnswerLimit;
  return true;
}

bool HttpPage::send_answer(Connection& connection) {
  while (connection.sent < connection.answer.size()) {
    const ssize_t count =
        send(connection.socket.number(), connection.answer.data() + connection.sent,
             connection.answer.size() - connection.sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      poller_.change(connection.socket, EPOLLOUT);
      return true;
    }
    if (count <= 0) return false;
    connection.sent += static_cast<size_t>(count);
  }
  connection.answer.clear();
  shutdown(connection.socket.number(), SHUT_WR);
  poller_.change(connection.socket, EPOLLIN);
  connection.state = State::kClosing;
  return true;
}

}  // namespace switchyard
