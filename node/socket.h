// Socket and Poller: descriptors that close themselves, and a thread's wait for many of them.
// listen_on: listening TCP sockets as gRPC makes them. Knows no protocol.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"

namespace switchyard {

// Owns a descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int number) : number_(number) {}
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();

  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }
  // Its owner from now on is the caller.
  int release() { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

// epoll, and a way for other threads to end the wait.
class Poller {
 public:
  Poller();

  // EPOLLIN, EPOLLOUT, EPOLLET as in epoll(7).
  void add(const Socket& socket, unsigned events);
  void change(const Socket& socket, unsigned events);
  void remove(const Socket& socket);

  // The descriptors that are ready, until the next wait. None: `deadline` has come, or wake().
  // One thread.
  std::span<const int> wait(TimePoint deadline);
  // Any thread. The next wait returns too.
  void wake();

 private:
  void control(int operation, const Socket& socket, unsigned events);

  Socket epoll_, woken_;
  std::vector<int> ready_;
};

struct ListenSockets {
  std::vector<Socket> sockets;  // of every address that the host's name has
  int port = 0;
};

// As gRPC listens: 0.0.0.0 and [::] are both families, nobody shares the port, and what is accepted
// inherits TCP_NODELAY and an end after `unacknowledged_limit` without the peer's acknowledgement.
// Nothing: no address could be had.
std::optional<ListenSockets> listen_on(const std::string& host_and_port,
                                       Duration unacknowledged_limit);

}  // namespace switchyard
