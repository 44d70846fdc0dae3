#include "node/load_report.h"

#include <gtest/gtest.h>

#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace switchyard {
namespace {

using std::chrono::seconds;

TEST(RateWindow, IsTheGrowthOverTheLastSeconds) {
  ManualClock clock;
  RateWindow rate(seconds(5));
  EXPECT_EQ(rate.per_second(), 0);
  uint64_t count = 1000;  // what was before it looked does not count
  for (int i = 0; i < 20; ++i, clock.advance(seconds(1)), count += 10) rate.add(clock.now(), count);
  EXPECT_DOUBLE_EQ(rate.per_second(), 10);
  for (int i = 0; i < 3; ++i, clock.advance(seconds(1))) rate.add(clock.now(), count);
  EXPECT_LT(rate.per_second(), 10);
  EXPECT_GT(rate.per_second(), 0);
  for (int i = 0; i < 6; ++i, clock.advance(seconds(1))) rate.add(clock.now(), count);
  EXPECT_EQ(rate.per_second(), 0);
}

TEST(LoadReport, SaysHowBusyTheNodeIsAndMayPassOne) {
  ManualClock clock;
  Metrics metrics;
  EngineLoad load;
  load.running = 8;
  load.waiting = 4;
  load.waiting_prompt_tokens = 700;
  load.kv_blocks_total = 100;
  load.kv_blocks_free = 25;
  LoadReporter reporter;
  EXPECT_EQ(reporter.serialized(), "");
  reporter.refresh(clock.now(), load, 8, metrics);
  clock.advance(seconds(2));
  for (int i = 0; i < 6; ++i)
    metrics.on_call_end(AnswerMethod::kGenerate, Code::kOk, FinishReason::kEos);
  metrics.on_call_end(AnswerMethod::kGenerateStream, Code::kInternal, FinishReason::kError);
  metrics.on_call_end(AnswerMethod::kComplete, Code::kInvalidArgument, FinishReason::kError);
  reporter.refresh(clock.now(), load, 8, metrics);

  xds::data::orca::v3::OrcaLoadReport report;
  ASSERT_TRUE(report.ParseFromString(reporter.serialized()));
  EXPECT_DOUBLE_EQ(report.application_utilization(), 1.5);
  EXPECT_DOUBLE_EQ(report.rps_fractional(), 4);
  EXPECT_DOUBLE_EQ(report.eps(), 0.5);  // the caller's mistakes are no errors of the node
  EXPECT_DOUBLE_EQ(report.utilization().at("kv_cache"), 0.75);
  EXPECT_DOUBLE_EQ(report.named_metrics().at("requests_running"), 8);
  EXPECT_DOUBLE_EQ(report.named_metrics().at("requests_waiting"), 4);
  EXPECT_DOUBLE_EQ(report.named_metrics().at("queue_uncached_tokens"), 700);
}

}  // namespace
}  // namespace switchyard
