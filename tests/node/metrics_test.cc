#include "node/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <set>

#include "node/metrics_page.h"

namespace switchyard {
namespace {

std::string page_of(const Metrics& metrics, bool vllm_names) {
  EngineLoad load;
  load.running = 3;
  load.kv_blocks_total = 10;
  load.kv_blocks_free = 4;
  const MetricsPage page(metrics, {.model_name = "tiny",
                                   .vllm_names = vllm_names,
                                   .credentials = {},
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

}  // namespace
}  // namespace switchyard
