// PortMux and HttpPage on sockets of this machine; gRPC's side is a list of what it was handed.
#include "node/port_mux.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "node/http_page.h"
#include "node/log.h"

namespace switchyard {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view kScrape = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

// Owns a descriptor.
class Socket {
 public:
  explicit Socket(int number) : number_(number) {}
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

TimePoint now() { return std::chrono::steady_clock::now(); }

Duration processor_time() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Socket connect_to(int port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  EXPECT_EQ(connect(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket.number(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return socket;
}

void say(const Socket& socket, std::string_view text) {
  EXPECT_EQ(send(socket.number(), text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
}

// Up to the end of the connection.
std::string hear_all(const Socket& socket) {
  std::string all;
  std::array<char, 4096> bytes;
  ssize_t count = 0;
  while ((count = recv(socket.number(), bytes.data(), bytes.size(), 0)) > 0) {
    all.append(bytes.data(), static_cast<size_t>(count));
  }
  return all;
}

// What one side of the mux was given.
class Side {
 public:
  void take(int socket) {
    std::lock_guard lock(mutex_);
    taken_.emplace_back(socket);
    came_.notify_all();
  }
  // False: not within the limit.
  bool has(size_t count, Duration limit = 20s) {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, limit, [&] { return taken_.size() >= count; });
  }
  size_t count() {
    std::lock_guard lock(mutex_);
    return taken_.size();
  }
  int option_of_last(int level, int name) {
    std::lock_guard lock(mutex_);
    int found = 0;
    socklen_t length = sizeof(found);
    EXPECT_EQ(getsockopt(taken_.back().number(), level, name, &found, &length), 0);
    return found;
  }
  bool last_does_not_block() {
    std::lock_guard lock(mutex_);
    return (fcntl(taken_.back().number(), F_GETFL) & O_NONBLOCK) != 0;
  }
  // The bytes that wait on the last one.
  std::string last_says() {
    std::lock_guard lock(mutex_);
    std::array<char, 4096> bytes;
    const ssize_t count =
        recv(taken_.back().number(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    return {bytes.data(), static_cast<size_t>(std::max<ssize_t>(count, 0))};
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<Socket> taken_;  // guarded by mutex_
};

class PortMuxTest : public testing::Test {
 protected:
  PortMuxTest() : mux_(PortMux::listen("127.0.0.1:0", 20s, log_)), port_(mux_->port()) {
    mux_->start({.http1 = [this](int socket) { http1_.take(socket); },
                 .other = [this](int socket) { other_.take(socket); }});
  }

  Log log_{"off"};
  Side http1_, other_;
  const std::unique_ptr<PortMux> mux_;
  const int port_;
};

TEST_F(PortMuxTest, HandsOverByTheFirstBytesAndTakesNone) {
  const Socket scraper = connect_to(port_);
  say(scraper, kScrape);
  ASSERT_TRUE(http1_.has(1));
  EXPECT_EQ(http1_.last_says(), kScrape);
  const Socket caller = connect_to(port_);
  say(caller, kPreface);
  ASSERT_TRUE(other_.has(1));
  EXPECT_EQ(other_.last_says(), kPreface);
  const Socket hello = connect_to(port_);
  say(hello, "\x16\x03\x01");
  ASSERT_TRUE(other_.has(2));
  EXPECT_EQ(http1_.count(), 1u);
}

TEST_F(PortMuxTest, WaitsForBytesThatCanStillDecide) {
  const Socket scraper = connect_to(port_);
  for (const char letter : std::string("GET")) {
    say(scraper, {&letter, 1});
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(http1_.count() + other_.count(), 0u);
  say(scraper, " ");
  ASSERT_TRUE(http1_.has(1));
  const Socket caller = connect_to(port_);
  say(caller, "P");
  std::this_thread::sleep_for(20ms);
  say(caller, "R");
  ASSERT_TRUE(other_.has(1));
}

TEST_F(PortMuxTest, GivesTheSilentAndTheSlowToTheOtherSide) {
  const TimePoint began = now();
  const Socket silent = connect_to(port_);
  const Socket slow = connect_to(port_);
  say(slow, "GE");
  ASSERT_TRUE(other_.has(2));
  EXPECT_GE(now() - began, PortMux::kDecideLimit);
  EXPECT_EQ(http1_.count(), 0u);
}

TEST_F(PortMuxTest, HoldsOnlySoManyThatAreSilent) {
  std::vector<Socket> silent;
  const TimePoint began = now();
  for (size_t i = 0; i < PortMux::kMostUndecided + 10; ++i) silent.push_back(connect_to(port_));
  ASSERT_TRUE(other_.has(10));
  if (now() - began < PortMux::kDecideLimit) {
    EXPECT_EQ(other_.count(), 10u);
  }
  const Socket scraper = connect_to(port_);
  say(scraper, kScrape);
  EXPECT_TRUE(http1_.has(1));
}

TEST_F(PortMuxTest, ClosesWhoLeavesWithoutAWordAndWhoeverIsGone) {
  connect_to(port_);
  for (const std::string_view text : {"", "GE"}) {
    const Socket reset = connect_to(port_);
    say(reset, text);
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(reset.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }
  EXPECT_FALSE(other_.has(1, PortMux::kDecideLimit + 200ms));
  EXPECT_EQ(http1_.count(), 0u);
}

TEST_F(PortMuxTest, DoesNotWaitForMoreOfWhoHasEndedItsSide) {
  const TimePoint began = now();
  const Socket ended = connect_to(port_);
  say(ended, "GE");
  shutdown(ended.number(), SHUT_WR);
  ASSERT_TRUE(other_.has(1));
  EXPECT_LT(now() - began, PortMux::kDecideLimit);
}

TEST_F(PortMuxTest, SleepsWhileNobodySaysMore) {
  const Socket slow = connect_to(port_);
  say(slow, "GE");
  const Duration before = processor_time();
  EXPECT_FALSE(other_.has(1, PortMux::kDecideLimit / 2));
  EXPECT_LT(processor_time() - before, 100ms);
}

TEST_F(PortMuxTest, AtTheEndHandsOverEverybodyWhoHasConnected) {
  std::vector<Socket> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(connect_to(port_));
    if (i % 2 == 0) say(all.back(), kPreface);
  }
  mux_->stop();
  EXPECT_EQ(other_.count(), 100u);
  EXPECT_NE(PortMux::listen("127.0.0.1:" + std::to_string(port_), 20s, log_), nullptr)
      << "the port is free again";
}

TEST_F(PortMuxTest, GoesOnWhenThereAreDescriptorsAgain) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  std::vector<Socket> callers;
  for (int i = 0; i < 3; ++i) callers.push_back(connect_to(port_));
  ASSERT_TRUE(other_.has(3));
  const Socket late(::socket(AF_INET, SOCK_STREAM, 0));
  rlimit none = before;
  none.rlim_cur = 0;  // of new ones
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const sockaddr_in address = loopback(port_);
  EXPECT_EQ(connect(late.number(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
  say(late, kPreface);
  const Duration before_waiting = processor_time();
  EXPECT_FALSE(other_.has(4, 500ms));
  const Duration used = processor_time() - before_waiting;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(other_.has(4));
  EXPECT_LT(used, 250ms) << "it waits instead of trying all the time";
}

TEST_F(PortMuxTest, HandsOverWhatGrpcWouldHaveAccepted) {
  const Socket caller = connect_to(port_);
  say(caller, kPreface.substr(0, 1));
  std::this_thread::sleep_for(20ms);
  say(caller, kPreface.substr(1));
  ASSERT_TRUE(other_.has(1));
  EXPECT_NE(other_.option_of_last(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(other_.option_of_last(IPPROTO_TCP, TCP_USER_TIMEOUT), 20'000);
  EXPECT_EQ(other_.option_of_last(SOL_SOCKET, SO_RCVLOWAT), 1);
  EXPECT_TRUE(other_.last_does_not_block());
}

class HttpPageTest : public testing::Test {
 protected:
  HttpPageTest()
      : page_({"/metrics", [this] {
                 ++rendered_;
                 return text_;
               }}) {
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_.number(), any, length), 0);
    EXPECT_EQ(listen(listener_.number(), SOMAXCONN), 0);
    EXPECT_EQ(getsockname(listener_.number(), any, &length), 0);
    port_ = ntohs(address.sin_port);
  }

  // A connection that the page has.
  Socket open() {
    Socket ours = connect_to(port_);
    page_.take(accept4(listener_.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return ours;
  }
  std::string ask(std::string_view request) {
    const Socket socket = open();
    say(socket, request);
    return hear_all(socket);
  }

  const Socket listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  int port_ = 0;
  const std::string text_ = std::string(4 << 20, 'x') + "\n";  // more than a socket's buffers hold
  std::atomic<int> rendered_{0};
  HttpPage page_;
};

TEST_F(HttpPageTest, SendsAllOfIt) {
  const std::string answer = ask(kScrape);
  EXPECT_EQ(answer.find("HTTP/1.1 200 OK\r\n"), 0u);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + text_));
  EXPECT_EQ(rendered_, 1);
}

TEST_F(HttpPageTest, AnswersAHeadThatComesInPieces) {
  const Socket socket = open();
  for (const char letter : kScrape) say(socket, {&letter, 1});
  EXPECT_EQ(hear_all(socket).find("HTTP/1.1 200 OK\r\n"), 0u);
}

TEST_F(HttpPageTest, AnswersAHeadThatIsTooLargeAndABodyThatNobodyReads) {
  EXPECT_EQ(ask("GET /" + std::string(100'000, 'a')).find("HTTP/1.1 431 "), 0u);
  EXPECT_EQ(
      ask("POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'a'))
          .find("HTTP/1.1 405 "),
      0u);
}

TEST_F(HttpPageTest, EndsASlowHeadAndMeanwhileAnswersOthers) {
  const TimePoint began = now();
  const Socket slow = open();
  say(slow, "GET /metr");
  EXPECT_EQ(ask(kScrape).find("HTTP/1.1 200 OK\r\n"), 0u);
  EXPECT_EQ(hear_all(slow), "");
  EXPECT_GE(now() - began, HttpPage::kHeadLimit);
}

TEST_F(HttpPageTest, ClosesWhoComesWhenThereAreTooMany) {
  std::vector<Socket> slow;
  const TimePoint began = now();
  for (size_t i = 0; i < HttpPage::kMostConnections; ++i) slow.push_back(open());
  const Socket over = open();
  EXPECT_EQ(hear_all(over), "");
  EXPECT_LT(now() - began, HttpPage::kHeadLimit);
  for (const Socket& each : slow) EXPECT_EQ(hear_all(each), "");
  std::string answer;  // once the page, too, knows that they are gone
  while (answer.empty() && now() - began < 20s) answer = ask(kScrape);
  EXPECT_EQ(answer.find("HTTP/1.1 200 OK\r\n"), 0u);
}

TEST_F(HttpPageTest, EndsAReaderThatTakesNothing) {
  const Socket lazy = open();
  say(lazy, kScrape);
  std::this_thread::sleep_for(HttpPage::kAnswerLimit + 500ms);
  EXPECT_LT(hear_all(lazy).size(), text_.size());
}

TEST(PortMuxListen, TakesWhatGrpcTakes) {
  Log log("off");
  for (const char* address : {"127.0.0.1:0", "localhost:0", "0.0.0.0:0", "[::]:0"}) {
    const auto mux = PortMux::listen(address, 20s, log);
    ASSERT_NE(mux, nullptr) << address;
    connect_to(mux->port());
  }
  for (const char* wrong : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":1",
                            "::1:0", "[::1:0", "[]:0", "192.0.2.1:0", "no.such.host.invalid:0"}) {
    EXPECT_EQ(PortMux::listen(wrong, 20s, log), nullptr) << wrong;
  }
}

TEST(PortMuxListen, TakesBothFamiliesForEither) {
  const Socket v6(::socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const auto* const any = reinterpret_cast<const sockaddr*>(&address);
  if (bind(v6.number(), any, sizeof(address)) != 0) GTEST_SKIP() << "no IPv6 here";
  Log log("off");
  const auto mux = PortMux::listen("0.0.0.0:0", 20s, log);
  ASSERT_NE(mux, nullptr);
  address.sin6_port = htons(static_cast<uint16_t>(mux->port()));
  EXPECT_EQ(connect(v6.number(), any, sizeof(address)), 0);
}

TEST(PortMuxListen, SharesAPortWithNobody) {
  Log log("off");
  for (const std::string address : {"127.0.0.1:", "0.0.0.0:", "[::]:"}) {
    const auto first = PortMux::listen(address + "0", 20s, log);
    ASSERT_NE(first, nullptr) << address;
    EXPECT_EQ(PortMux::listen(address + std::to_string(first->port()), 20s, log), nullptr)
        << address;
  }
}

}  // namespace
}  // namespace switchyard
