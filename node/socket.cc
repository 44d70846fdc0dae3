#include "node/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>

#include "kernels/base/check.h"

namespace switchyard {
namespace {

constexpr int kMostReadyAtOnce = 64;

struct Address {
  sockaddr_storage bytes{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* any() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  [[nodiscard]] const sockaddr_in& v4() const {
    return reinterpret_cast<const sockaddr_in&>(bytes);
  }
  [[nodiscard]] const sockaddr_in6& v6() const {
    return reinterpret_cast<const sockaddr_in6&>(bytes);
  }
  [[nodiscard]] int family() const { return bytes.ss_family; }
  [[nodiscard]] uint16_t port() const {
    return ntohs(family() == AF_INET ? v4().sin_port : v6().sin6_port);
  }
  void set_port(uint16_t port) {
    if (family() == AF_INET) {
      reinterpret_cast<sockaddr_in&>(bytes).sin_port = htons(port);
    } else {
      reinterpret_cast<sockaddr_in6&>(bytes).sin6_port = htons(port);
    }
  }
  [[nodiscard]] bool is_wildcard() const {
    if (family() == AF_INET) return v4().sin_addr.s_addr == htonl(INADDR_ANY);
    return std::memcmp(&v6().sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0;
  }
};

Address wildcard(int family, uint16_t port) {
  Address address;
  address.bytes.ss_family = static_cast<sa_family_t>(family);
  address.length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  address.set_port(port);
  return address;
}

// HOST:PORT, [V6]:PORT.
std::vector<Address> resolve(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return {};
  std::string host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return {};  // where it ends and the port begins is anybody's guess
  }
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data() + colon + 1, end, port) != std::from_chars_result{end, {}}) {
    return {};
  }
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (host.empty() || getaddrinfo(host.c_str(), nullptr, &wanted, &found) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  std::vector<Address> all;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    Address address;
    address.length = each->ai_addrlen;
    std::memcpy(&address.bytes, each->ai_addr, each->ai_addrlen);
    address.set_port(port);
    all.push_back(address);
  }
  return all;
}

bool set_option(const Socket& socket, int level, int name, int value) {
  return setsockopt(socket.number(), level, name, &value, sizeof(value)) == 0;
}

Socket listen_at(const Address& address, Duration unacknowledged_limit) {
  Socket socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return {};
  const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(unacknowledged_limit);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limit.count()));
  // REUSEADDR: connections of a process before us, which linger, do not keep us from the port;
  // whoever listens there does.
  if (!set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1) ||
      !set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1) ||
      (address.family() == AF_INET6 && !set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)) ||
      bind(socket.number(), address.any(), address.length) != 0 ||
      listen(socket.number(), INT_MAX) != 0) {  // the kernel lowers it to net.core.somaxconn
    return {};
  }
  return socket;
}

uint16_t port_of(const Socket& socket) {
  Address bound;
  bound.length = sizeof(bound.bytes);
  CHECK(getsockname(socket.number(), reinterpret_cast<sockaddr*>(&bound.bytes), &bound.length) ==
        0);
  return bound.port();
}

}  // namespace

Socket::~Socket() {
  if (number_ >= 0) ::close(number_);
}

// A process that cannot have two more descriptors at its start serves nobody.
Poller::Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)), woken_(eventfd(0, EFD_CLOEXEC)) {
  CHECK(epoll_.is_open() && woken_.is_open());
  add(woken_, EPOLLIN);
}

void Poller::add(const Socket& socket, unsigned events) { control(EPOLL_CTL_ADD, socket, events); }

void Poller::change(const Socket& socket, unsigned events) {
  control(EPOLL_CTL_MOD, socket, events);
}

void Poller::remove(const Socket& socket) { control(EPOLL_CTL_DEL, socket, 0); }

void Poller::control(int operation, const Socket& socket, unsigned events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = socket.number();
  CHECK(epoll_ctl(epoll_.number(), operation, socket.number(), &event) == 0);
}

std::span<const int> Poller::wait(TimePoint deadline) {
  int timeout_milliseconds = -1;
  if (deadline != kNever) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        deadline - TimePoint(std::chrono::steady_clock::now()));
    timeout_milliseconds = static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX));
  }
  std::array<epoll_event, kMostReadyAtOnce> events{};
  const int count =
      epoll_wait(epoll_.number(), events.data(), kMostReadyAtOnce, timeout_milliseconds);
  ready_.clear();
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd != woken_.number()) {
      ready_.push_back(events[i].data.fd);
      continue;
    }
    uint64_t times = 0;
    CHECK(read(woken_.number(), &times, sizeof(times)) == sizeof(times));
  }
  return ready_;
}

void Poller::wake() {
  const uint64_t once = 1;
  CHECK(write(woken_.number(), &once, sizeof(once)) == sizeof(once));
}

std::optional<ListenSockets> listen_on(const std::string& host_and_port,
                                       Duration unacknowledged_limit) {
  const std::vector<Address> addresses = resolve(host_and_port);
  if (addresses.empty()) return std::nullopt;
  if (std::ranges::any_of(addresses, &Address::is_wildcard)) {
    const uint16_t port = addresses.front().port();
    for (const int family : {AF_INET6, AF_INET}) {  // the second where there is no IPv6
      Socket socket = listen_at(wildcard(family, port), unacknowledged_limit);
      if (!socket.is_open()) continue;
      ListenSockets all{.sockets = {}, .port = port_of(socket)};
      all.sockets.push_back(std::move(socket));
      return all;
    }
    return std::nullopt;
  }
  ListenSockets all;
  for (Address address : addresses) {
    if (all.port != 0) address.set_port(static_cast<uint16_t>(all.port));
    Socket socket = listen_at(address, unacknowledged_limit);
    if (!socket.is_open()) continue;
    all.port = port_of(socket);
    all.sockets.push_back(std::move(socket));
  }
  if (all.sockets.empty()) return std::nullopt;
  return all;
}

}  // namespace switchyard
