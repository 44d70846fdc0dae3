// How HTTP/1 begins on the port of PortMux, and what HttpPage answers.
#include <gtest/gtest.h>

#include <string>

#include "node/http_page.h"
#include "node/port_mux.h"

namespace switchyard {
namespace {

const HttpPage::Page kPage{"/metrics", [] { return "switchyard_requests_running 3\n"; }};

std::string answer_to(std::string_view request) {
  return http_answer(request, kPage).value_or("no answer");
}

TEST(Greeting, OfHttp1IsAMethodAndASpace) {
  for (const char* method :
       {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ", "CONNECT "}) {
    EXPECT_EQ(greeting_of(method), Greeting::kHttp1) << method;
    EXPECT_EQ(greeting_of(std::string(method) + "/"), Greeting::kHttp1) << method;
    for (size_t length = 0; length < std::string_view(method).size(); ++length) {
      EXPECT_EQ(greeting_of(std::string_view(method).substr(0, length)), Greeting::kUndecided)
          << method << length;
    }
  }
}

TEST(Greeting, OfGrpcAndTlsIsNeverHttp1AndDecidedByTheSecondByte) {
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  EXPECT_EQ(greeting_of(kPreface.substr(0, 1)), Greeting::kUndecided);  // as PUT, POST and PATCH
  for (size_t length = 2; length <= kPreface.size(); ++length) {
    EXPECT_EQ(greeting_of(kPreface.substr(0, length)), Greeting::kOther) << length;
  }
  EXPECT_EQ(greeting_of("\x16\x03\x01"), Greeting::kOther);
  EXPECT_EQ(greeting_of("\x16"), Greeting::kOther);
}

TEST(Greeting, OfAnythingElseIsOther) {
  for (const char* text : {"get ", "GETS", "GET\t", "HELO", " GET", "\r\nGET", "SSH-2.0", "{"}) {
    EXPECT_EQ(greeting_of(text), Greeting::kOther) << text;
  }
  EXPECT_EQ(greeting_of(std::string_view("\0GET ", 5)), Greeting::kOther);
}

TEST(Greeting, IsDecidedWithinItsBytes) {
  for (const char* text : {"CONNECT ", "CONNECTX", "OPTIONS ", "AAAAAAAA"}) {
    ASSERT_EQ(std::string_view(text).size(), kGreetingBytes);
    EXPECT_NE(greeting_of(text), Greeting::kUndecided) << text;
  }
}

// The answer's status; "": there is none yet.
std::string status_of(std::string_view request) {
  const std::optional<std::string> answer = http_answer(request, kPage);
  return answer ? answer->substr(std::string_view("HTTP/1.1 ").size(), 3) : "";
}

TEST(HttpHead, SaysMethodAndPath) {
  EXPECT_EQ(status_of("GET /metrics HTTP/1.1\r\nHost: node:50051\r\n\r\n"), "200");
  EXPECT_EQ(status_of("HEAD /metrics?name=a HTTP/1.0\r\n\r\n"), "200");
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"), "404");
}

TEST(HttpHead, IsPartialUpToTheEmptyLine) {
  const std::string text = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(status_of(text.substr(0, length)), "") << length;
  }
}

TEST(HttpHead, WithAWrongRequestLineIsMalformedAsSoonAsThatEnds) {
  for (const char* line :
       {"GET", "GET /metrics", "GET  HTTP/1.1", "GET /metrics HTTP/2.0", "GET /metrics http/1.1",
        "GET /a b HTTP/1.1", "get /metrics HTTP/1.1", "GET /\x01 HTTP/1.1", "GET /\xff HTTP/1.1",
        "", " / HTTP/1.1", "GET /metrics HTTP/1.1 ", "GET /metrics HTTP/1.10"}) {
    EXPECT_EQ(status_of(std::string(line) + "\r\n"), "400") << line;
  }
}

TEST(HttpHead, SaysNothingOfABody) {
  for (const char* field : {"Content-Length: 99999999999", "Transfer-Encoding: chunked"}) {
    const std::string head = std::string("/metrics HTTP/1.1\r\n") + field + "\r\n\r\n";
    EXPECT_EQ(status_of("GET " + head), "200") << field;
    EXPECT_EQ(status_of("POST " + head + "body"), "405") << field;
  }
}

TEST(HttpHead, HasALimit) {
  const std::string line = "GET /metrics HTTP/1.1\r\nx: ";
  const std::string end = "\r\n\r\n";
  const std::string fits = line + std::string(kMostHeadBytes - line.size() - end.size(), 'x') + end;
  ASSERT_EQ(fits.size(), kMostHeadBytes);
  EXPECT_EQ(status_of(fits), "200");
  EXPECT_EQ(status_of(line + std::string(kMostHeadBytes - line.size(), 'x')), "431");
  EXPECT_EQ(status_of("x" + fits), "400");
  EXPECT_EQ(status_of(line + "x" + fits.substr(line.size())), "431");
  EXPECT_EQ(status_of("GET /" + std::string(100'000, 'a')), "431");
  EXPECT_EQ(status_of(line + "y\r\n" + std::string(100'000, 'a')), "431");
}

TEST(HttpAnswer, IsThePageWithItsLength) {
  const std::string answer = answer_to("GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(answer,
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: 30\r\n"
            "Connection: close\r\n"
            "\r\n"
            "switchyard_requests_running 3\n");
}

TEST(HttpAnswer, ToHeadIsTheSameWithoutThePage) {
  const std::string whole = answer_to("GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(answer_to("HEAD /metrics HTTP/1.1\r\n\r\n"),
            whole.substr(0, whole.find("\r\n\r\n") + 4));
}

TEST(HttpAnswer, SaysWhatIsWrong) {
  EXPECT_EQ(answer_to("GET / HTTP/1.1\r\n\r\n").find("HTTP/1.1 404 "), 0u);
  EXPECT_EQ(answer_to("GET /metrics/ HTTP/1.1\r\n\r\n").find("HTTP/1.1 404 "), 0u);
  EXPECT_EQ(answer_to("GET http://x/metrics HTTP/1.1\r\n\r\n").find("HTTP/1.1 404 "), 0u);
  const std::string post = answer_to("POST /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(post.find("HTTP/1.1 405 "), 0u);
  EXPECT_NE(post.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos);
  EXPECT_EQ(answer_to("GET /metrics\r\n\r\n").find("HTTP/1.1 400 "), 0u);
  EXPECT_EQ(answer_to("GET /" + std::string(9000, 'a')).find("HTTP/1.1 431 "), 0u);
}

TEST(HttpAnswer, RendersOnlyWhatIsSent) {
  int rendered = 0;
  const HttpPage::Page counting{"/metrics", [&rendered] { return std::to_string(++rendered); }};
  for (const char* request :
       {"GET / HTTP/1.1\r\n\r\n", "POST /metrics HTTP/1.1\r\n\r\n", "x\r\n"}) {
    EXPECT_TRUE(http_answer(request, counting)) << request;
  }
  EXPECT_EQ(rendered, 0);
}

}  // namespace
}  // namespace switchyard
