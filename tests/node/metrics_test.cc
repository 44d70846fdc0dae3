#include "node/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>

#include "node/metrics_page.h"

namespace switchyard {
namespace {

std::string page_of(const Metrics& metrics, bool vllm_names, CredentialsInUse credentials = {}) {
  EngineLoad load;
  load.running = 3;
  load.waiting = 2;
  load.waiting_by_class = {0, 1, 1};
  load.kv_blocks_total = 10;
  load.kv_blocks_free = 4;
  const MetricsPage page(metrics, {.model_name = "tiny",
                                   .vllm_names = vllm_names,
                                   .credentials = credentials,
                                   .state = [] { return NodeState::kReady; },
                                   .in_flight = [] { return 5; },
                                   .load = [load] { return load; },
                                   .facts = [] { return ServedFacts(); }});
  return prometheus::TextSerializer().Serialize(page.Collect());
}

TEST(Histogram, CountsValuesUpToEachBound) {
  const std::vector<double> bounds = {1, 2};
  Histogram histogram(bounds);
  histogram.observe(1);
  histogram.observe(1.5);
  histogram.observe(9, 3);
  EXPECT_EQ(histogram.count(0), 1u);
  EXPECT_EQ(histogram.count(1), 1u);
  EXPECT_EQ(histogram.count(2), 3u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 29.5);
}

TEST(Metrics, BucketsRise) {
  const Metrics m;
  for (const Histogram* h :
       {&m.time_to_first_token, &m.inter_token_latency, &m.end_to_end, &m.queue, &m.cancel_to_free,
        &m.request_prompt_tokens, &m.decode_step, &m.step_sequences}) {
    EXPECT_TRUE(std::ranges::is_sorted(h->bounds()));
    EXPECT_EQ(std::set<double>(h->bounds().begin(), h->bounds().end()).size(), h->bounds().size());
  }
}

TEST(Metrics, ShowEveryOutcomeBeforeTheFirstCall) {
  const std::string page = page_of(Metrics(), true);
  EXPECT_NE(page.find("switchyard_requests_total{model_name=\"tiny\",method=\"Generate\","
                      "code=\"RESOURCE_EXHAUSTED\",finish_reason=\"none\"} 0"),
            std::string::npos);
  EXPECT_NE(page.find("switchyard_rejected_total{model_name=\"tiny\",reason=\"queue_full\"} 0"),
            std::string::npos);
}

TEST(Metrics, TellWhoWaitsByPriorityAndWhatAdmissionCounts) {
  const std::string page = page_of(Metrics(), true);
  EXPECT_NE(page.find("waiting_by_priority{model_name=\"tiny\",class=\"low\"} 0"),
            std::string::npos);
  EXPECT_NE(page.find("waiting_by_priority{model_name=\"tiny\",class=\"high\"} 1"),
            std::string::npos);
  EXPECT_NE(page.find("switchyard_requests_in_flight{model_name=\"tiny\"} 5"), std::string::npos);
}

TEST(Metrics, CarryVllmsNamesOnlyWhenAsked) {
  const Metrics metrics;
  EXPECT_NE(page_of(metrics, true).find("vllm:num_requests_running{model_name=\"tiny\"} 3"),
            std::string::npos);
  EXPECT_NE(page_of(metrics, true).find("vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.6"),
            std::string::npos);
  EXPECT_EQ(page_of(metrics, false).find("vllm:"), std::string::npos);
}

TEST(Metrics, CountACancelledAnswerByItsPhaseAndNotAsALatency) {
  Metrics metrics;
  EndReport report;
  report.phase = Phase::kDecode;
  report.end.status = Status(Code::kCancelled, "gone");
  report.end.usage = {.prompt_tokens = 7, .completion_tokens = 2};
  report.cancel_to_free = std::chrono::milliseconds(2);
  metrics.on_end(report);
  EXPECT_EQ(metrics.cancelled[static_cast<size_t>(Phase::kDecode)], 1u);
  EXPECT_DOUBLE_EQ(metrics.cancel_to_free.sum(), 0.002);
  metrics.on_freed(std::chrono::milliseconds(4));
  EXPECT_DOUBLE_EQ(metrics.cancel_to_free.sum(), 0.006);
  EXPECT_DOUBLE_EQ(metrics.request_prompt_tokens.sum(), 0);
  EXPECT_EQ(metrics.prompt_tokens_computed, 7u);
}

TEST(Metrics, CountRefusalsByTheirReason) {
  Metrics metrics;
  metrics.on_rejected(Status::invalid("x", "bad"));
  metrics.on_rejected(Status::busy(Code::kResourceExhausted, "QUEUE_FULL", {}, "full"));
  const std::string page = page_of(metrics, false);
  EXPECT_NE(page.find("reason=\"invalid\"} 1"), std::string::npos);
  EXPECT_NE(page.find("reason=\"queue_full\"} 1"), std::string::npos);
  EXPECT_NE(page.find("reason=\"draining\"} 0"), std::string::npos);
}

TEST(Metrics, ShowEveryCodeThatACallCanEndWithBeforeTheFirst) {
  Metrics metrics;
  const std::string before = page_of(metrics, false);
  for (const char* line :
       {"handled_total{model_name=\"tiny\",service=\"switchyard.v1.GenerationService\","
        "method=\"GenerateStream\",code=\"RESOURCE_EXHAUSTED\"} 0",
        "handled_total{model_name=\"tiny\",service=\"switchyard.v1.ModelService\","
        "method=\"GetModel\",code=\"UNAUTHENTICATED\"} 0",
        "started_total{model_name=\"tiny\",service=\"grpc.health.v1.Health\",method=\"Watch\"} "
        "0"}) {
    EXPECT_NE(before.find(line), std::string::npos) << line;
  }
  EXPECT_EQ(before.find("method=\"Check\",code=\"RESOURCE_EXHAUSTED\""), std::string::npos);
}

TEST(Metrics, CountACallFromItsBeginningToItsEnd) {
  Metrics metrics;
  const auto line = [&metrics](const std::string& name, const std::string& labels) {
    const std::string page = page_of(metrics, false);
    const std::string series = "switchyard_grpc_server_" + name +
                               "{model_name=\"tiny\",service=\"switchyard.v1.ChatService\","
                               "method=\"Complete\"" +
                               labels + "} ";
    const size_t found = page.find(series);
    return found == std::string::npos ? -1 : std::stod(page.substr(found + series.size()));
  };
  {
    RpcMeter meter(metrics.rpcs, Rpc::kComplete);
    meter.received(100);
    EXPECT_EQ(line("started_total", ""), 1);
    EXPECT_EQ(line("open_calls", ""), 1);
    meter.sent(30);
    meter.sent(12);
    meter.ended(Code::kAborted);
  }
  EXPECT_EQ(line("open_calls", ""), 0);
  EXPECT_EQ(line("received_bytes_total", ""), 100);
  EXPECT_EQ(line("sent_bytes_total", ""), 42);
  EXPECT_EQ(line("handled_total", ",code=\"ABORTED\""), 1);
  EXPECT_EQ(calls_begun(metrics.rpcs), 1u);
  { const RpcMeter probe(metrics.rpcs, Rpc::kHealthCheck); }
  EXPECT_EQ(calls_begun(metrics.rpcs), 1u);
}

TEST(Metrics, OfCredentialsAreThereWhereSomeAreUsed) {
  Metrics metrics;
  metrics.certificate_not_after_unix_seconds = 1e9;
  metrics.on_reload(ReloadedFile::kTokens, Reload::kFailed);
  EXPECT_EQ(page_of(metrics, false).find("credential"), std::string::npos);
  const std::string page = page_of(metrics, false, {.certificate = true, .tokens = true});
  EXPECT_NE(page.find("certificate_not_after_timestamp_seconds{model_name=\"tiny\"} 1000000000"),
            std::string::npos);
  EXPECT_NE(page.find("file=\"tokens\",outcome=\"failed\"} 1"), std::string::npos);
  EXPECT_NE(page.find("file=\"certificate\",outcome=\"done\"} 0"), std::string::npos);
}

// A picker may scrape every 50 ms. Only of optimised programs: sanitizers take their time.
TEST(Metrics, AreRenderedInLessThanAMillisecond) {
  const Metrics metrics;
  std::vector<double> microseconds;
  size_t bytes = 0;
  for (int i = 0; i < 300; ++i) {
    const auto began = std::chrono::steady_clock::now();
    bytes = page_of(metrics, true, {.certificate = true, .tokens = true}).size();
    microseconds.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began)
            .count());
  }
  std::ranges::sort(microseconds);
  std::printf("a page of %zu bytes: fastest %.0f us, median %.0f us of %zu\n", bytes,
              microseconds.front(), microseconds[microseconds.size() / 2], microseconds.size());
#ifdef NDEBUG
  EXPECT_LT(microseconds.front(), 1000);
#endif
}

}  // namespace
}  // namespace switchyard
