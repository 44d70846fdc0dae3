// Reading pages of nodes and of GPUs over real sockets: from servers that answer, and from those
// that are huge, slow, broken or gone.
#include "client/load/scrape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>

#include "client/load/failure.h"
#include "client/load/gpu_sample.h"
#include "client/load/http_get.h"
#include "client/load/server_sample.h"
#include "tests/client/load/http_server.h"

namespace switchyard::test {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using Connection = HttpServer::Connection;

HttpUrl url_of(const HttpServer& server) {
  return {.host = "127.0.0.1", .port = server.port(), .path = "/metrics"};
}

std::string failure_of(const HttpServer& server, const HttpLimits& limits = {}) {
  const auto body = http_get(url_of(server), limits);
  return body.ok() ? "" : why(body.status());
}

TEST(HttpUrl, IsReadWithAndWithoutItsParts) {
  const auto parts = [](std::string_view text) {
    const auto url = parse_http_url(text, "/metrics");
    return url.ok() ? url->host + " " + url->port + " " + url->path : why(url.status());
  };
  EXPECT_EQ(parts("node:9400"), "node 9400 /metrics");
  EXPECT_EQ(parts("http://node"), "node 80 /metrics");
  EXPECT_EQ(parts("http://[::1]:9400/x?y=1"), "::1 9400 /x?y=1");
  EXPECT_THAT(parts("https://node"), HasSubstr("only http://"));
  EXPECT_THAT(parts("node:0"), HasSubstr("no port from 1 to 65535"));
  EXPECT_THAT(parts("node:99999"), HasSubstr("no port"));
  EXPECT_THAT(parts("[::1"), HasSubstr("not closed"));
  EXPECT_THAT(parts(":80"), HasSubstr("no host"));
  EXPECT_THAT(parts("no de"), HasSubstr("blanks"));
  EXPECT_THAT(parts("node/\r\nX: y"), HasSubstr("blanks or control"));
}

TEST(HttpGet, AsksForThePathAndReturnsTheBody) {
  std::string asked;
  const HttpServer server([&asked](const Connection& connection, const std::string& request) {
    asked = request;
    connection.send(HttpServer::page("a 1\n"));
  });
  const auto body = http_get(url_of(server), {});
  ASSERT_TRUE(body.ok()) << body.status();
  EXPECT_EQ(*body, "a 1\n");
  EXPECT_THAT(asked, HasSubstr("GET /metrics HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("Host: 127.0.0.1:" + server.port() + "\r\n"));
}

TEST(HttpGet, UnderstandsChunks) {
  const HttpServer server([](const Connection& connection, const std::string&) {
    connection.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na \r\n2\r\n1\n\r\n0\r\n\r\n");
  });
  const auto body = http_get(url_of(server), {});
  ASSERT_TRUE(body.ok()) << body.status();
  EXPECT_EQ(*body, "a 1\n");
}

TEST(HttpGet, RefusesWhatIsTooLongSaidOrUnsaid) {
  const HttpServer said([](const Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
    connection.wait_for_the_end();
  });
  EXPECT_THAT(failure_of(said), HasSubstr("reading the reply: "));
  const HttpServer unsaid([](const Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\n\r\n");
    while (connection.send(std::string(4096, 'a'))) {
    }
  });
  EXPECT_THAT(failure_of(unsaid, {.time = milliseconds(10'000), .body_bytes = 100'000}),
              HasSubstr("body limit"));
  const HttpServer header([](const Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\n");
    while (connection.send("X: " + std::string(1000, 'y') + "\r\n")) {
    }
  });
  EXPECT_THAT(failure_of(header, {.time = milliseconds(10'000)}), HasSubstr("header limit"));
}

TEST(HttpGet, GivesUpInTimeHoweverSlowlyTheReplyTrickles) {
  std::atomic<bool> over = false;
  const HttpServer server([&over](const Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (!over && connection.send("a")) std::this_thread::sleep_for(milliseconds(5));
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(failure_of(server, {.time = milliseconds(200)}), HasSubstr("in time"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(5000));
  over = true;
}

TEST(HttpGet, GivesUpInTimeOnSilence) {
  const HttpServer server(
      [](const Connection& connection, const std::string&) { connection.wait_for_the_end(); });
  EXPECT_THAT(failure_of(server, {.time = milliseconds(150)}), HasSubstr("in time"));
}

TEST(HttpGet, SaysWhatIsWrongWithABrokenReply) {
  const auto failure_for = [](const std::string& bytes) {
    const HttpServer server(
        [&bytes](const Connection& connection, const std::string&) { connection.send(bytes); });
    return failure_of(server);
  };
  EXPECT_EQ(failure_for("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "HTTP status 404");
  EXPECT_EQ(failure_for(
                "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            "HTTP status 301");
  EXPECT_THAT(failure_for("SSH-2.0-OpenSSH_9.2\r\n"), HasSubstr("reading the reply: "));
  EXPECT_THAT(failure_for("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
              HasSubstr("reading the reply: "));
  EXPECT_THAT(failure_for("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
              HasSubstr("reading the reply: "));
  EXPECT_THAT(failure_for(""), HasSubstr("reading the reply: "));
}

TEST(HttpGet, SaysThatNobodyListens) {
  std::string port;
  {
    port = HttpServer([](const Connection&, const std::string&) {}).port();
  }
  const auto body = http_get({.host = "127.0.0.1", .port = port, .path = "/"}, {});
  EXPECT_THAT(why(body.status()), HasSubstr("connecting: "));
}

std::vector<MetricSeries> parsed(std::string_view page) {
  auto all = parse_prometheus_text(page, {});
  EXPECT_TRUE(all.ok());
  return *std::move(all);
}

TEST(ServerSample, TakesFromAPageWhatAReportShows) {
  const ServerSample sample =
      sample_of(parsed("switchyard_requests_running{model_name=\"m\"} 3\n"
                       "switchyard_requests_waiting{model_name=\"m\"} 5\n"
                       "switchyard_requests_waiting{model_name=\"m\",reason=\"capacity\"} 5\n"
                       "switchyard_kv_cache_usage_ratio{pool=\"full\"} 0.25\n"
                       "switchyard_kv_cache_usage_ratio{pool=\"state\"} 0.5\n"
                       "switchyard_generation_tokens_total 100\n"
                       "switchyard_prompt_tokens_total{source=\"computed\"} 70\n"
                       "switchyard_prompt_tokens_total{source=\"cached\"} 30\n"
                       "switchyard_rejected_total{reason=\"queue_full\"} 2\n"
                       "switchyard_rejected_total{reason=\"draining\"} 1\n"
                       "vllm:generation_tokens_total 999\n"
                       "switchyard_time_to_first_token_seconds_bucket{le=\"0.1\"} 4\n"
                       "switchyard_time_to_first_token_seconds_bucket{le=\"+Inf\"} 6\n"
                       "switchyard_time_to_first_token_seconds_bucket{le=\"0.01\"} 1\n"
                       "switchyard_time_to_first_token_seconds_sum 0.9\n"
                       "switchyard_time_to_first_token_seconds_count 6\n"));
  EXPECT_EQ(sample.running, 3);
  EXPECT_EQ(sample.waiting, 5);
  EXPECT_EQ(sample.cache_usage, 0.5);
  EXPECT_EQ(sample.generation_tokens, 100);
  EXPECT_EQ(sample.computed_prompt_tokens, 70);
  EXPECT_EQ(sample.cached_prompt_tokens, 30);
  EXPECT_EQ(sample.rejected, 3);
  EXPECT_EQ(sample.preemptions, -1);
  EXPECT_THAT(sample.time_to_first_token.bounds, ElementsAre(0.01, 0.1, INFINITY));
  EXPECT_THAT(sample.time_to_first_token.cumulative, ElementsAre(1, 4, 6));
  EXPECT_EQ(sample.time_to_first_token.sum, 0.9);
  EXPECT_TRUE(sample.queue.bounds.empty());
}

TEST(ServerSample, TakesNoHistogramThatIsNone) {
  constexpr char kName[] = "switchyard_request_queue_seconds_bucket";
  const auto queue = [&](const std::string& lines) { return sample_of(parsed(lines)).queue; };
  const std::string name = kName;
  EXPECT_TRUE(queue(name + "{le=\"0.1\"} 4\n").bounds.empty());
  EXPECT_TRUE(queue(name + "{le=\"0.1\"} 4\n" + name + "{le=\"+Inf\"} 3\n").bounds.empty());
  EXPECT_TRUE(queue(name + "{le=\"x\"} 4\n").bounds.empty());
  EXPECT_EQ(sample_of(parsed("switchyard_requests_running NaN\n")).running, -1);
  EXPECT_EQ(sample_of(parsed("switchyard_requests_running -4\n")).running, -1);
}

TEST(Scraper, ReadsPagesBeforeDuringAndAfter) {
  std::atomic<int> pages = 0;
  const HttpServer server([&pages](const Connection& connection, const std::string&) {
    connection.send(HttpServer::page(
        "switchyard_build_info{version=\"9.1\"} 1\nswitchyard_generation_tokens_total " +
        std::to_string(++pages) + "\n"));
  });
  Scraper<ServerSeries> scraper({url_of(server)},
                                {.interval = milliseconds(5), .limits = {}, .page_limits = {}});
  EXPECT_GE(pages, 1);  // the constructor waits for the first
  while (pages < 5) std::this_thread::yield();
  const std::vector<ServerSeries> series = scraper.finish();
  ASSERT_THAT(series, SizeIs(1));
  EXPECT_EQ(series[0].target, "127.0.0.1:" + server.port());
  EXPECT_EQ(series[0].version, "9.1");
  EXPECT_EQ(series[0].failures, 0);
  EXPECT_EQ(series[0].scrapes, pages);
  ASSERT_EQ(std::ssize(series[0].samples), pages);
  EXPECT_EQ(series[0].samples.back().generation_tokens, pages);
  for (size_t i = 1; i < series[0].samples.size(); ++i) {
    EXPECT_GT(series[0].samples[i].unix_ns, series[0].samples[i - 1].unix_ns);
  }
}

TEST(Scraper, GoesOnAfterFailuresAndCountsThem) {
  std::atomic<int> pages = 0;
  const HttpServer server([&pages](const Connection& connection, const std::string&) {
    const int page = ++pages;
    if (page == 1) return;  // closed without a word
    connection.send(
        HttpServer::page(page == 2 ? "{\"not\": \"metrics\"}" : "switchyard_requests_running 1\n"));
  });
  Scraper<ServerSeries> scraper(
      {url_of(server), {.host = "127.0.0.1", .port = "1", .path = "/metrics"}},
      {.interval = milliseconds(5), .limits = {}, .page_limits = {}});
  while (pages < 4) std::this_thread::yield();
  const std::vector<ServerSeries> series = scraper.finish();
  EXPECT_EQ(series[0].failures, 2);
  EXPECT_THAT(series[0].first_failure, HasSubstr("reading the reply"));
  EXPECT_EQ(std::ssize(series[0].samples), series[0].scrapes - 2);
  EXPECT_EQ(series[1].failures, series[1].scrapes);
  EXPECT_THAT(series[1].samples, SizeIs(0));
  EXPECT_THAT(series[1].first_failure, HasSubstr("connecting: "));
}

TEST(Scraper, KeepsNoMoreSamplesThanItMay) {
  std::atomic<int> pages = 0;
  const HttpServer server([&pages](const Connection& connection, const std::string&) {
    ++pages;
    connection.send(HttpServer::page("switchyard_requests_running 1\n"));
  });
  Scraper<ServerSeries> scraper(
      {url_of(server)},
      {.interval = milliseconds(1), .limits = {}, .page_limits = {}, .most_samples = 8});
  while (pages < 20) std::this_thread::yield();
  const std::vector<ServerSeries> series = scraper.finish();
  EXPECT_LE(series[0].samples.size(), 8u);
  EXPECT_GE(series[0].samples.size(), 4u);
}

TEST(Scraper, ReadsPagesOfGpusFromWhenTheirExporterKnowsThem) {
  std::atomic<int> pages = 0;
  const HttpServer server([&pages](const Connection& connection, const std::string&) {
    const int page = ++pages;
    connection.send(HttpServer::page(
        page == 1 ? "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n"
                  : "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",Hostname=\"h\"} " +
                        std::to_string(100 + page) + ".5\n"));
  });
  Scraper<GpuSeries> scraper({url_of(server)},
                             {.interval = milliseconds(5), .limits = {}, .page_limits = {}});
  while (pages < 4) std::this_thread::yield();
  const std::vector<GpuSeries> series = scraper.finish();
  ASSERT_THAT(series, SizeIs(1));
  EXPECT_EQ(series[0].target, "127.0.0.1:" + server.port());
  EXPECT_EQ(series[0].scrapes, pages);
  EXPECT_EQ(series[0].failures, 1);
  EXPECT_THAT(series[0].first_failure, HasSubstr("no series of a GPU"));
  ASSERT_EQ(std::ssize(series[0].samples), pages - 1);
  ASSERT_THAT(series[0].gpus, SizeIs(1));
  EXPECT_EQ(series[0].gpus[0].uuid, "GPU-a");
  EXPECT_EQ(series[0].samples.back().value(0, GpuGauge::kPower), 100.5 + pages);
  EXPECT_GT(series[0].samples.back().unix_ns, series[0].samples.front().unix_ns);
}

TEST(Scraper, OfNoPagesDoesNothing) {
  Scraper<ServerSeries> scraper({}, {});
  EXPECT_THAT(scraper.finish(), SizeIs(0));
}

}  // namespace
}  // namespace switchyard::test
