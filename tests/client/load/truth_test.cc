// Reports against runs whose delays are known: every percentile within 2 % or 1 ms of the truth,
// and a server that stalls for a second is seen to (no coordinated omission).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "client/load/report.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

// z for each of kPercentiles: the value of a log-normal distribution there is median * exp(s * z).
constexpr std::array<double, 5> kNormalQuantiles = {0, 1.281552, 1.644854, 2.326348, 3.090232};

// The standard normal's quantile, by halving.
double normal_quantile(double share) {
  double low = -9;
  double high = 9;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < share ? low : high) = middle;
  }
  return low;
}

// `count` values in random order that are distributed exactly so.
std::vector<double> log_normal(size_t count, double median, double sigma, uint64_t seed) {
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) {
    const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(count);
    values.push_back(median * std::exp(sigma * normal_quantile(share)));
  }
  std::ranges::shuffle(values, std::mt19937_64(seed));
  return values;
}

void expect_truth(const Distribution& d, double median, double sigma) {
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    const double truth = median * std::exp(sigma * kNormalQuantiles[i]);
    EXPECT_NEAR(d.percentiles[i].value, truth, std::max(0.02 * truth, 1.0))
        << kPercentiles[i].title;
    EXPECT_LE(d.percentiles[i].low, truth) << kPercentiles[i].title;
    EXPECT_GE(d.percentiles[i].high, truth) << kPercentiles[i].title;
  }
}

TEST(Truth, EachPercentileIsWithinTwoPercentOfTheDelaysThatWereMade) {
  constexpr size_t kRequests = 20'000;
  const auto first = log_normal(kRequests, 80, 0.7, 1);
  const auto gap = log_normal(kRequests, 12, 0.4, 2);
  RunBuilder builder;
  for (size_t i = 0; i < kRequests; ++i) {
    builder.add(answered(static_cast<int64_t>(i) * 5 * kMs,
                         {.first_ns = static_cast<int64_t>(first[i] * 1e6),
                          .gap_ns = static_cast<int64_t>(gap[i] * 2e6),
                          .messages = 21,
                          .tokens = 2,
                          .end_ns = 0}));
  }
  const Figures f = figures_of(builder.measured_until(100 * kSecond), {});
  expect_truth(f.latencies.ttft_ms, 80, 0.7);
  expect_truth(f.latencies.tpot_ms, 12, 0.4);
  expect_truth(f.latencies.itl_ms, 12, 0.4);
  EXPECT_EQ(f.latencies.itl_ms.count, 40 * static_cast<int64_t>(kRequests));
  std::vector<double> whole;
  for (size_t i = 0; i < kRequests; ++i) whole.push_back(first[i] + 40 * gap[i]);
  std::ranges::sort(whole);
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    const double truth = quantile(whole, kPercentiles[i].share);
    EXPECT_NEAR(f.latencies.e2e_ms.percentiles[i].value, truth, 0.02 * truth);
  }
}

// 100 requests/s for 10 s; from 5 s to 6 s the server does nothing.
LoadRun stalled_run(bool client_waits) {
  RunBuilder builder;
  for (int64_t at_ns = 0; at_ns < 10 * kSecond; at_ns += 10 * kMs) {
    const bool stalls = at_ns >= 5 * kSecond && at_ns < 6 * kSecond;
    const int64_t wait_ns = stalls ? 6 * kSecond - at_ns : 0;
    // A client that waits for answers before it sends would send these only after the stall.
    builder.add(client_waits ? answered(at_ns, {.send_ns = wait_ns})
                             : answered(at_ns, {.first_ns = 20 * kMs + wait_ns}));
  }
  return builder.measured_until(10 * kSecond);
}

TEST(Truth, AStallOfASecondIsSeenWhenItWasMetAndInThePercentiles) {
  for (const bool client_waits : {false, true}) {
    const LoadRun run = stalled_run(client_waits);
    const Distribution ttft = figures_of(run, {}).latencies.ttft_ms;
    // A tenth of the requests met it and waited from 1020 ms down to 30.
    EXPECT_NEAR(ttft.percentiles[0].value, 20, 1e-6);
    EXPECT_NEAR(ttft.percentiles[2].value, 520, 11);
    EXPECT_NEAR(ttft.percentiles[3].value, 920, 11);
    EXPECT_NEAR(ttft.max, 1020, 1e-6);
    const Timeline timeline = timeline_of(run);
    EXPECT_NEAR(timeline.windows[4].ttft_p99_ms, 20, 1e-6);
    EXPECT_NEAR(timeline.windows[5].ttft_p50_ms, 525, 1);
    EXPECT_NEAR(timeline.windows[6].ttft_p99_ms, 20, 1e-6);
    EXPECT_EQ(timeline.windows[5].completed, 11);  // of those from before the stall
  }
}

TEST(Truth, ALateClientReportsNothingButThatItWasLate) {
  RunBuilder builder;
  builder.add(1000, 0, kMs, {});
  LoadRun run = builder.measured_until(kSecond);
  run.facts.lateness = {.sends = 1000, .late_sends = 10, .worst_ns = 40 * kMs};
  EXPECT_FALSE(make_report(run, {}).refused());
  run.facts.lateness.late_sends = 11;
  const Report report = make_report(run, {});
  EXPECT_THAT(report.refusal, HasSubstr("11 of 1000 sends (1.10 %)"));
  EXPECT_EQ(report.figures.outcomes.asked, 0);
  EXPECT_TRUE(report.timeline.windows.empty());
}

TEST(Warnings, NameWhatAReaderHasToKnow) {
  RunBuilder builder;
  builder.add(50, 0, kMs, {});
  RequestRecord odd = answered(0, {});
  odd.completion_tokens = 3;
  builder.add(odd).add(failed(0, 14));
  RequestRecord cut = failed(0, 1);
  cut.cut = true;
  builder.add(cut);
  RunFacts& facts = builder.facts();
  facts.held_back = 4;
  facts.unsent_turns = 2;
  facts.stop_reason = StopReason::kErrors;
  facts.stop_detail = "half of them failed";
  facts.greedy = {{.number = 1, .tokens = 5, .diverged_at = 2}, {.number = 2, .tokens = 5}};
  ReportContext context;
  ServerSeries& silent = context.servers.emplace_back();
  silent.target = "n:1";
  silent.scrapes = silent.failures = 3;
  silent.first_failure = "connecting: refused";
  const Report report = make_report(builder.measured_until(kSecond), context);
  for (const char* part :
       {"in 1 answers the tokens that arrived are not those of Usage", "1 of 53 requests failed",
        "1 requests were cut off", "51 completed requests are too few for p99 ",
        "ended early: half of them failed", "4 sends waited", "2 turns of conversations",
        "1 of 2 greedy answers",
        "3 of 3 pages of n:1 could not be had; the first: connecting: refused"}) {
    EXPECT_THAT(report.warnings, Contains(HasSubstr(part)));
  }
  EXPECT_EQ(report.warnings.size(), 9);
}

TEST(Warnings, AreNoneWhereAllIsWell) {
  RunBuilder builder;
  builder.add(1000, 0, kMs, {});
  EXPECT_TRUE(make_report(builder.measured_until(kSecond), {}).warnings.empty());
}

TEST(Timeline, PutsEachThingWhereItHappened) {
  RunBuilder builder;
  builder.add(answered(1500 * kMs, {.first_ns = 600 * kMs, .gap_ns = 500 * kMs, .messages = 3}));
  builder.add(failed(2500 * kMs, 8));
  builder.facts().samples = {{.at_ns = 1600 * kMs, .in_flight = 1},
                             {.at_ns = 1900 * kMs, .in_flight = 7}};
  const Timeline timeline = timeline_of(builder.measured_until(4 * kSecond));
  ASSERT_EQ(timeline.windows.size(), 4);
  EXPECT_EQ(timeline.width_seconds, 1);
  EXPECT_EQ(timeline.windows[1].sent, 1);
  EXPECT_EQ(timeline.windows[1].in_flight, 7);
  EXPECT_EQ(timeline.windows[2].output_tokens, 2);
  EXPECT_EQ(timeline.windows[3].output_tokens, 1);
  EXPECT_EQ(timeline.windows[2].refused, 1);
  EXPECT_EQ(timeline.windows[3].completed, 1);
  EXPECT_DOUBLE_EQ(timeline.windows[1].ttft_p50_ms, 600);
  EXPECT_DOUBLE_EQ(timeline.windows[0].ttft_p50_ms, -1);
}

TEST(Timeline, OfALongRunHasWiderWindows) {
  RunBuilder builder;
  builder.add(answered(0, {})).add(answered(3600 * kSecond - 200 * kMs, {}));
  const Timeline timeline = timeline_of(builder.measured_until(3600 * kSecond));
  EXPECT_EQ(timeline.width_seconds, 6);
  EXPECT_EQ(timeline.windows.size(), 600);
  EXPECT_EQ(timeline.windows.back().sent, 1);
}

}  // namespace
}  // namespace switchyard::test
