#include "node/port_mux.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <climits>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "node/log.h"

namespace switchyard {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// None is the beginning of HTTP/2's "PRI * HTTP/2.0" or of a TLS record.
constexpr std::array<std::string_view, 9> kMethods = {
    "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ", "CONNECT "};
static_assert(std::ranges::max(kMethods, {}, &std::string_view::size).size() == kGreetingBytes);

constexpr int kMostAcceptsAtTheEnd = 8192;
// Without descriptors accepting fails at once, again and again.
constexpr Duration kPause = std::chrono::milliseconds(100);
constexpr Duration kWarnInterval = std::chrono::seconds(10);

// HOST:PORT, [V6]:PORT.
std::vector<tcp::endpoint> resolve(asio::io_context& io, const std::string& text) {
  const size_t colon = std::min(text.rfind(':'), text.size());
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return {};  // where it ends and the port begins is anybody's guess
  }
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const char* const digits = std::min(text.data() + colon + 1, end);
  if (host.empty() || std::from_chars(digits, end, port) != std::from_chars_result{end, {}}) {
    return {};
  }
  error_code error;
  std::vector<tcp::endpoint> all;
  for (const auto& each : tcp::resolver(io).resolve(host, "", tcp::resolver::passive, error)) {
    if (each.endpoint().address().is_unspecified()) return {{tcp::v6(), port}, {tcp::v4(), port}};
    all.emplace_back(each.endpoint().address(), port);
  }
  return all;
}

// Not open: the address could not be had.
tcp::acceptor listen_at(asio::io_context& io,
                        const tcp::endpoint& at,
                        Duration unacknowledged_limit) {
  tcp::acceptor acceptor(io);
  error_code error;
  const auto set = [&](const auto& option) {
    if (!error) acceptor.set_option(option, error);
  };
  acceptor.open(at.protocol(), error);
  // Connections of a process before us, which linger, do not keep us from the port; whoever listens
  // there does.
  set(tcp::acceptor::reuse_address(true));
  set(tcp::no_delay(true));
  if (at.protocol() == tcp::v6()) set(asio::ip::v6_only(false));
  const int limit = static_cast<int>(
      std::chrono::duration_cast<std::chrono::milliseconds>(unacknowledged_limit).count());
  setsockopt(acceptor.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
  if (!error) acceptor.bind(at, error);
  if (!error) acceptor.listen(INT_MAX, error);  // the kernel lowers it to net.core.somaxconn
  if (error) acceptor.close(error);
  return acceptor;
}

// Once it has started, all but stop() happens on its thread.
class Mux final : public PortMux {
 public:
  explicit Mux(Log& log) : log_(log) {}
  ~Mux() override { stop(); }

  // False: no address could be had.
  bool listen_on(const std::string& host_and_port, Duration unacknowledged_limit) {
    for (tcp::endpoint each : resolve(io_, host_and_port)) {
      if (port_ != 0) each.port(static_cast<uint16_t>(port_));
      tcp::acceptor acceptor = listen_at(io_, each, unacknowledged_limit);
      if (!acceptor.is_open()) continue;
      error_code error;
      port_ = acceptor.local_endpoint(error).port();
      listeners_.push_back({std::move(acceptor), asio::steady_timer(io_)});
    }
    return !listeners_.empty();
  }

  [[nodiscard]] int port() const override { return port_; }

  void start(Routes routes) override {
    routes_ = std::move(routes);
    for (Listener& each : listeners_) accept(each);
    thread_ = std::thread([this] { io_.run(); });
  }

  void stop() override {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { accept_the_last(); });
    thread_.join();
  }

 private:
  struct Listener {
    tcp::acceptor acceptor;
    asio::steady_timer pause;
  };
  struct Guest {
    tcp::socket socket;  // closed: it has been handed over, or is gone
    asio::steady_timer deadline;
    size_t said = 0;
  };
  using GuestPointer = std::shared_ptr<Guest>;

  void accept(Listener& listener) {
    listener.acceptor.async_accept([this, &listener](error_code error, tcp::socket socket) {
      if (!error) arrived(std::move(socket));
      if (stopping_) return;
      if (!error) return accept(listener);
      warn(error);
      listener.pause.expires_after(kPause);
      listener.pause.async_wait([this, &listener](error_code) {
        if (!stopping_) accept(listener);
      });
    });
  }

  void warn(error_code why) {
    const auto now = std::chrono::steady_clock::now();
    if (now - warned_at_ < kWarnInterval) return;
    log_.warn("cannot accept connections", {{"why", why.message()}});
    warned_at_ = now;
  }

  void accept_the_last() {
    stopping_ = true;
    error_code error;
    for (Listener& each : listeners_) {
      each.pause.cancel();
      each.acceptor.non_blocking(true, error);
      for (int i = 0; i < kMostAcceptsAtTheEnd; ++i) {
        tcp::socket socket = each.acceptor.accept(error);
        if (error) break;
        arrived(std::move(socket));
      }
      each.acceptor.close(error);
    }
    hand_over_all_but(0);
  }

  void arrived(tcp::socket socket) {
    error_code error;
    socket.non_blocking(true, error);
    const GuestPointer guest(new Guest{std::move(socket), asio::steady_timer(io_, kDecideLimit)});
    guest->deadline.async_wait([this, guest](error_code cancelled) {
      if (!cancelled) hand_over(guest, Greeting::kOther);
    });
    undecided_.push_back(guest);
    look_at(guest);
    hand_over_all_but(stopping_ ? 0 : kMostUndecided);
  }

  void look_at(const GuestPointer& guest) {
    std::array<char, kGreetingBytes> bytes;
    error_code error;
    const size_t count =
        guest->socket.receive(asio::buffer(bytes), tcp::socket::message_peek, error);
    if (error && error != asio::error::would_block) return forget(guest);  // it has gone
    const Greeting greeting = greeting_of({bytes.data(), count});
    if (greeting != Greeting::kUndecided) return hand_over(guest, greeting);
    // Woken by no new bytes: it has ended its side, and will say no more.
    if (!error && count == guest->said) return hand_over(guest, Greeting::kOther);
    // Bytes that decide nothing stay where they are, and must not wake us again and again.
    guest->said = count;
    wake_at(*guest, count + 1);
    guest->socket.async_wait(tcp::socket::wait_read, [this, guest](error_code cancelled) {
      if (!cancelled && guest->socket.is_open()) look_at(guest);
    });
  }

  // The next wait ends when there are so many, or will be no more.
  static void wake_at(Guest& guest, size_t bytes) {
    error_code error;
    guest.socket.set_option(tcp::socket::receive_low_watermark(static_cast<int>(bytes)), error);
  }

  void hand_over(const GuestPointer& guest, Greeting greeting) {
    if (!guest->socket.is_open()) return;
    wake_at(*guest, 1);
    // A connection that was reset still has the bytes that came before. gRPC would write a line of
    // its own about each.
    error_code error;
    guest->socket.remote_endpoint(error);
    const int socket = error ? -1 : guest->socket.release(error);
    forget(guest);
    if (!error) (greeting == Greeting::kHttp1 ? routes_.http1 : routes_.other)(socket);
  }

  void hand_over_all_but(size_t most) {
    while (undecided_.size() > most) {
      hand_over(GuestPointer(undecided_.front()), Greeting::kOther);
    }
  }

  void forget(const GuestPointer& guest) {
    error_code error;
    guest->socket.close(error);
    guest->deadline.cancel();
    std::erase(undecided_, guest);
  }

  Log& log_;
  Routes routes_;
  asio::io_context io_{1};
  std::deque<Listener> listeners_;
  int port_ = 0;
  std::vector<GuestPointer> undecided_;  // in the order of their arrival
  TimePoint warned_at_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

Greeting greeting_of(std::string_view first_bytes) {
  for (const std::string_view method : kMethods) {
    if (first_bytes.starts_with(method)) return Greeting::kHttp1;
    if (method.starts_with(first_bytes)) return Greeting::kUndecided;
  }
  return Greeting::kOther;
}

std::unique_ptr<PortMux> PortMux::listen(const std::string& host_and_port,
                                         Duration unacknowledged_limit,
                                         Log& log) {
  auto mux = std::make_unique<Mux>(log);
  return mux->listen_on(host_and_port, unacknowledged_limit) ? std::move(mux) : nullptr;
}

}  // namespace switchyard
