// What two pages say of the time between them.
#include "client/load/server_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

BucketCounts buckets(std::vector<double> cumulative, double sum) {
  return {.bounds = {0.1, 0.2, INFINITY}, .cumulative = std::move(cumulative), .sum = sum};
}

// A run of 10 s, measured from 2 s, whose last answer ends at 8 s.
LoadRun ten_seconds() {
  RunBuilder builder;
  builder.facts().measured_from_ns = 2 * kSecond;
  builder.add(answered(2 * kSecond, {.first_ns = 6 * kSecond, .messages = 1, .end_ns = 0}));
  return builder.measured_until(8 * kSecond);
}

ServerSample at(const LoadRun& run, double seconds, double tokens) {
  ServerSample sample;
  sample.unix_ns = run.facts.start_unix_ns + static_cast<int64_t>(seconds * 1e9);
  sample.generation_tokens = tokens;
  return sample;
}

TEST(BucketDifference, IsWhatCameBetween) {
  const auto grown = difference(buckets({1, 2, 3}, 0.5), buckets({2, 5, 7}, 1.5));
  ASSERT_TRUE(grown);
  EXPECT_THAT(grown->cumulative, ElementsAre(1, 3, 4));
  EXPECT_DOUBLE_EQ(grown->sum, 1);
  EXPECT_FALSE(difference(buckets({4, 5, 6}, 1), buckets({1, 5, 6}, 1)));
  EXPECT_FALSE(difference(buckets({1, 2, 3}, 1), {}));
  EXPECT_TRUE(difference({}, buckets({1, 2, 3}, 1)));
}

TEST(ServerDistribution, InterpolatesAsPrometheusDoes) {
  // 10 up to 0.1 s, 80 up to 0.2 s, 10 above.
  const ServerDistribution d = distribution_of(buckets({10, 90, 100}, 15));
  EXPECT_EQ(d.count, 100);
  EXPECT_DOUBLE_EQ(d.mean_ms, 150);
  EXPECT_DOUBLE_EQ(d.percentiles_ms[0].value, 150);  // 40 of the 80 of its bucket
  EXPECT_DOUBLE_EQ(d.percentiles_ms[0].low, 100);
  EXPECT_DOUBLE_EQ(d.percentiles_ms[0].high, 200);
  EXPECT_DOUBLE_EQ(d.percentiles_ms[1].value, 200);
  EXPECT_DOUBLE_EQ(d.percentiles_ms[3].value, 200);  // in the last bucket: at least its bound
  EXPECT_TRUE(std::isinf(d.percentiles_ms[3].high));
  EXPECT_EQ(distribution_of({}).count, 0);
}

TEST(ServerView, IsOfThePagesAroundTheMeasuredRequests) {
  const LoadRun run = ten_seconds();
  ServerSeries series{.target = "n:1", .version = "1", .samples = {}, .first_failure = ""};
  for (const double seconds : {-1.0, 0.5, 1.5, 4.0, 7.5, 8.5, 11.0}) {
    series.samples.push_back(at(run, seconds, 10 * (seconds + 1)));
  }
  series.samples[3].running = 9;
  series.samples[6].running = 50;  // after it: none of ours
  const std::vector<ServerView> views = server_views({series}, run);
  ASSERT_THAT(views, SizeIs(1));
  EXPECT_DOUBLE_EQ(views[0].from_seconds, 1.5);
  EXPECT_DOUBLE_EQ(views[0].to_seconds, 8.5);
  EXPECT_DOUBLE_EQ(views[0].generation_tokens, 70);
  EXPECT_EQ(views[0].peak_running, 9);
  EXPECT_EQ(views[0].preemptions, -1);
}

TEST(ServerView, OfARestartedNodeIsEmpty) {
  const LoadRun run = ten_seconds();
  ServerSeries series{.target = "n:1", .version = "", .samples = {}, .first_failure = ""};
  series.samples = {at(run, 0, 100), at(run, 5, 20), at(run, 9, 400)};
  const std::vector<ServerView> views = server_views({series}, run);
  EXPECT_TRUE(views[0].restarted);
  EXPECT_EQ(views[0].generation_tokens, -1);
  EXPECT_DOUBLE_EQ(views[0].from_seconds, views[0].to_seconds);
}

TEST(ServerView, OfOnePageOrNoneIsEmpty) {
  const LoadRun run = ten_seconds();
  ServerSeries one{.target = "n:1", .version = "", .samples = {}, .first_failure = ""};
  one.samples = {at(run, 0, 100)};
  const ServerSeries none{.target = "n:2", .version = "", .samples = {}, .first_failure = "gone"};
  const std::vector<ServerView> views = server_views({one, none}, run);
  ASSERT_THAT(views, SizeIs(2));
  EXPECT_EQ(views[0].generation_tokens, -1);
  EXPECT_FALSE(views[0].restarted);
  EXPECT_EQ(views[1].first_failure, "gone");
}

TEST(ServerView, OfSeveralNodesHasTheirSum) {
  const LoadRun run = ten_seconds();
  std::vector<ServerSeries> series;
  for (const double tokens : {100.0, 300.0}) {
    ServerSeries& one = series.emplace_back();
    one.target = "n";
    one.samples = {at(run, 0, 0), at(run, 9, tokens)};
    one.samples[0].time_to_first_token = buckets({0, 0, 0}, 0);
    one.samples[1].time_to_first_token = buckets({0, 10, 10}, 1.5);
    one.samples[1].running = 4;
    one.samples[1].cache_usage = tokens / 1000;
  }
  const std::vector<ServerView> views = server_views(std::move(series), run);
  ASSERT_THAT(views, SizeIs(3));
  EXPECT_EQ(views[2].target, "all nodes");
  EXPECT_EQ(views[2].generation_tokens, 400);
  EXPECT_EQ(views[2].ttft.count, 20);
  EXPECT_DOUBLE_EQ(views[2].ttft.mean_ms, 150);
  EXPECT_EQ(views[2].peak_running, 8);
  EXPECT_EQ(views[2].peak_cache_usage, 0.3);
}

}  // namespace
}  // namespace switchyard::test
