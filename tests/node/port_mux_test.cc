// PortMux and HttpPage on sockets of this machine; gRPC's side is a list of what it was handed.
#include "node/port_mux.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "node/http_page.h"
#include "node/log.h"

namespace switchyard {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view kScrape = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

TimePoint now() { return std::chrono::steady_clock::now(); }

std::string local(int port) { return "127.0.0.1:" + std::to_string(port); }

Socket connect_to(int port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(socket.number(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
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
  void take(Socket socket) {
    std::lock_guard lock(mutex_);
    taken_.push_back(std::move(socket));
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
  PortMuxTest() {
    std::optional<ListenSockets> sockets = listen_on("127.0.0.1:0", 20s);
    port_ = sockets->port;
    mux_ = std::make_unique<PortMux>(
        std::move(sockets->sockets),
        PortMux::Routes{.http1 = [this](Socket socket) { http1_.take(std::move(socket)); },
                        .other = [this](Socket socket) { other_.take(std::move(socket)); }},
        log_);
  }

  Log log_{"off"};
  int port_ = 0;
  Side http1_, other_;
  std::unique_ptr<PortMux> mux_;
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
    Socket reset = connect_to(port_);
    say(reset, text);
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(reset.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    reset = Socket();
  }
  EXPECT_FALSE(other_.has(1, PortMux::kDecideLimit + 200ms));
  EXPECT_EQ(http1_.count(), 0u);
}

TEST_F(PortMuxTest, AtTheEndHandsOverEverybodyWhoHasConnected) {
  std::vector<Socket> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(connect_to(port_));
    if (i % 2 == 0) say(all.back(), kPreface);
  }
  mux_->stop();
  EXPECT_EQ(other_.count(), 100u);
  EXPECT_TRUE(listen_on(local(port_), 20s).has_value()) << "the port is free again";
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
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port_));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(late.number(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  say(late, kPreface);
  timespec used_before{}, used_after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used_before);
  EXPECT_FALSE(other_.has(4, 500ms));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used_after);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(other_.has(4));
  const auto used = std::chrono::seconds(used_after.tv_sec - used_before.tv_sec) +
                    std::chrono::nanoseconds(used_after.tv_nsec - used_before.tv_nsec);
  EXPECT_LT(used, 250ms) << "it waits instead of trying all the time";
}

class HttpPageTest : public testing::Test {
 protected:
  HttpPageTest()
      : sockets_(*listen_on("127.0.0.1:0", 20s)), page_({"/metrics", [this] {
                                                           ++rendered_;
                                                           return text_;
                                                         }}) {}

  // A connection that the page has.
  Socket open() {
    Socket ours = connect_to(sockets_.port);
    pollfd ready{.fd = sockets_.sockets.front().number(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&ready, 1, 20'000), 1);
    page_.take(Socket(accept4(ready.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
    return ours;
  }
  std::string ask(std::string_view request) {
    const Socket socket = open();
    say(socket, request);
    return hear_all(socket);
  }

  ListenSockets sockets_;
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

TEST(ListenOn, TakesWhatGrpcTakes) {
  const auto family_of = [](const std::string& address) {
    const std::optional<ListenSockets> sockets = listen_on(address, 20s);
    if (!sockets) return 0;
    sockaddr_storage bound{};
    socklen_t length = sizeof(bound);
    getsockname(sockets->sockets.front().number(), reinterpret_cast<sockaddr*>(&bound), &length);
    EXPECT_GT(sockets->port, 0) << address;
    return static_cast<int>(bound.ss_family);
  };
  EXPECT_EQ(family_of("127.0.0.1:0"), AF_INET);
  EXPECT_NE(family_of("localhost:0"), 0);
  const int wildcard = family_of("[::]:0");  // without IPv6 that is IPv4
  EXPECT_NE(wildcard, 0);
  EXPECT_EQ(family_of("0.0.0.0:0"), wildcard);
  for (const char* wrong : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":1",
                            "::1:0", "[::1:0", "[]:0", "192.0.2.1:0", "no.such.host.invalid:0"}) {
    EXPECT_EQ(family_of(wrong), 0) << wrong;
  }
}

TEST(ListenOn, SharesAPortWithNobody) {
  for (const char* address : {"127.0.0.1:", "0.0.0.0:", "[::]:"}) {
    const std::optional<ListenSockets> first = listen_on(address + std::string("0"), 20s);
    ASSERT_TRUE(first) << address;
    EXPECT_FALSE(listen_on(address + std::to_string(first->port), 20s)) << address;
  }
}

TEST(ListenOn, GivesConnectionsWhatGrpcGivesThem) {
  const std::optional<ListenSockets> sockets = listen_on("127.0.0.1:0", 20s);
  const Socket ours = connect_to(sockets->port);
  const Socket theirs(accept(sockets->sockets.front().number(), nullptr, nullptr));
  for (const auto& [name, value] : {std::pair(TCP_NODELAY, 1), {TCP_USER_TIMEOUT, 20'000}}) {
    int found = 0;
    socklen_t length = sizeof(found);
    ASSERT_EQ(getsockopt(theirs.number(), IPPROTO_TCP, name, &found, &length), 0);
    EXPECT_EQ(found, value);
  }
}

}  // namespace
}  // namespace switchyard
