#include "node/port_mux.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "node/log.h"

namespace switchyard {
namespace {

// Then those that have said something get their turn.
constexpr int kMostAcceptedAtOnce = 64;
constexpr int kMostAcceptsAtTheEnd = 128;  // times those
// Without descriptors accepting fails at once, again and again.
constexpr Duration kPause = std::chrono::milliseconds(100);
constexpr Duration kWarnInterval = std::chrono::seconds(10);

TimePoint now() { return std::chrono::steady_clock::now(); }

// What a connection has said so far; its bytes stay where they are. Nothing: it has gone.
std::optional<Greeting> peek(const Socket& socket) {
  std::array<char, kGreetingBytes> bytes;
  const ssize_t count = recv(socket.number(), bytes.data(), bytes.size(), MSG_PEEK);
  if (count > 0) return greeting_of(std::string_view(bytes.data(), static_cast<size_t>(count)));
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return Greeting::kUndecided;
  return std::nullopt;
}

// A connection that was reset still has the bytes that came before. gRPC would write a line of its
// own about each.
bool has_peer(const Socket& socket) {
  sockaddr_storage peer;
  socklen_t length = sizeof(peer);
  return getpeername(socket.number(), reinterpret_cast<sockaddr*>(&peer), &length) == 0;
}

}  // namespace

PortMux::PortMux(std::vector<Socket> listeners, Routes routes, Log& log)
    : listeners_(std::move(listeners)), routes_(std::move(routes)), log_(log) {
  for (const Socket& listener : listeners_) poller_.add(listener, EPOLLIN);
  thread_ = std::thread([this] { run(); });
}

PortMux::~PortMux() { stop(); }

void PortMux::stop() {
  if (stopping_.exchange(true)) return;
  poller_.wake();
  thread_.join();
  for (const Socket& listener : listeners_) {
    for (int i = 0; i < kMostAcceptsAtTheEnd; ++i) {
      if (accept_from(listener) != Accepted::kSome) break;
    }
  }
  listeners_.clear();
  while (!undecided_.empty()) hand_over_oldest();
}

void PortMux::run() {
  while (!stopping_) {
    const TimePoint first = undecided_.empty() ? kNever : undecided_.front().deadline;
    for (const int ready : poller_.wait(std::min(first, resume_at_))) {
      const auto listener = std::ranges::find(listeners_, ready, &Socket::number);
      if (listener == listeners_.end()) {
        look_again(ready);
      } else if (resume_at_ == kNever && accept_from(*listener) == Accepted::kCannot) {
        pause();
      }
    }
    while (!undecided_.empty() && undecided_.front().deadline <= now()) hand_over_oldest();
    if (resume_at_ <= now()) resume();
  }
}

PortMux::Accepted PortMux::accept_from(const Socket& listener) {
  for (int i = 0; i < kMostAcceptedAtOnce; ++i) {
    Socket socket(accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.is_open()) {
      arrived(std::move(socket));
    } else if (errno == EAGAIN) {
      return Accepted::kAll;
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
      return Accepted::kCannot;
    }
  }
  return Accepted::kSome;
}

void PortMux::pause() {
  if (now() - warned_at_ >= kWarnInterval) {
    log_.warn("cannot accept connections", {{"why", std::strerror(errno)}});
    warned_at_ = now();
  }
  for (const Socket& listener : listeners_) poller_.remove(listener);
  resume_at_ = now() + kPause;
}

void PortMux::resume() {
  for (const Socket& listener : listeners_) poller_.add(listener, EPOLLIN);
  resume_at_ = kNever;
}

void PortMux::arrived(Socket socket) {
  const std::optional<Greeting> greeting = peek(socket);
  if (!greeting) return;
  if (*greeting != Greeting::kUndecided) return hand_over(std::move(socket), *greeting);
  // Edge-triggered: bytes that decide nothing stay where they are, and would wake us again and
  // again.
  poller_.add(socket, EPOLLIN | EPOLLRDHUP | EPOLLET);
  undecided_.push_back({std::move(socket), now() + kDecideLimit});
  if (undecided_.size() > kMostUndecided) hand_over_oldest();
}

void PortMux::look_again(int number) {
  const auto found = std::ranges::find(undecided_, number,
                                       [](const Undecided& each) { return each.socket.number(); });
  if (found == undecided_.end()) return;  // handed over since the wait
  const std::optional<Greeting> greeting = peek(found->socket);
  if (greeting == Greeting::kUndecided) return;
  Socket socket = std::move(found->socket);
  undecided_.erase(found);
  poller_.remove(socket);
  if (greeting) hand_over(std::move(socket), *greeting);
}

void PortMux::hand_over(Socket socket, Greeting greeting) const {
  if (!has_peer(socket)) return;
  (greeting == Greeting::kHttp1 ? routes_.http1 : routes_.other)(std::move(socket));
}

void PortMux::hand_over_oldest() {
  Socket socket = std::move(undecided_.front().socket);
  undecided_.erase(undecided_.begin());
  poller_.remove(socket);
  hand_over(std::move(socket), Greeting::kOther);
}

}  // namespace switchyard
