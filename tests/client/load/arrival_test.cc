// When requests are meant to be sent: means, spread and curves of arrivals, and that a seed gives
// them again. Everything is drawn from fixed seeds, so nothing here is a matter of luck.
#include "client/load/arrival.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "client/load/saturation.h"

namespace switchyard {
namespace {

constexpr int64_t kQuarterSecond = 250'000'000;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

RateCurve constant(double rate) { return std::vector{RatePiece{rate, rate, 1}}; }

std::vector<double> seconds(OpenLoop loop, size_t count, uint64_t seed = 1) {
  Arrivals arrivals(std::move(loop), seed);
  std::vector<double> times;
  while (times.size() < count) {
    const auto at = arrivals.next();
    if (!at) break;
    times.push_back(static_cast<double>(*at) * 1e-9);
  }
  return times;
}

struct Gaps {
  double mean = 0;
  double variation = 0;  // deviation / mean
};
Gaps gaps_of(const std::vector<double>& times) {
  double sum = 0;
  double squares = 0;
  for (size_t i = 1; i < times.size(); ++i) {
    const double gap = times[i] - times[i - 1];
    sum += gap;
    squares += gap * gap;
  }
  const auto n = static_cast<double>(times.size() - 1);
  const double mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean) / mean};
}

int count_in(const std::vector<double>& times, double from, double to) {
  return static_cast<int>(
      std::count_if(times.begin(), times.end(), [&](double t) { return t >= from && t < to; }));
}

TEST(Arrivals, AreExactlyEvenWhenConstant) {
  const auto times = seconds({constant(8), kInfinity}, 100);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_NEAR(times[i], static_cast<double>(i + 1) / 8, 1e-9);
  }
}

TEST(Arrivals, HaveExponentialGapsWhenPoisson) {
  const auto times = seconds({constant(50), 1}, 40'000);
  const Gaps gaps = gaps_of(times);
  EXPECT_NEAR(gaps.mean, 0.02, 0.0003);
  EXPECT_NEAR(gaps.variation, 1, 0.02);
  // P(gap > mean) = 1/e, which no other shape with the same mean and deviation need have.
  int long_gaps = 0;
  for (size_t i = 1; i < times.size(); ++i) long_gaps += times[i] - times[i - 1] > 0.02;
  EXPECT_NEAR(long_gaps / 40'000.0, std::exp(-1), 0.01);
}

TEST(Arrivals, AreAsBurstyAsAskedFor) {
  for (const double burstiness : {0.2, 0.5, 4.0, 100.0}) {
    const Gaps gaps = gaps_of(seconds({constant(10), burstiness}, 40'000));
    EXPECT_NEAR(gaps.mean, 0.1, 0.1 * 0.03) << burstiness;
    EXPECT_NEAR(gaps.variation * std::sqrt(burstiness), 1, 0.03) << burstiness;
  }
}

TEST(Arrivals, ASeedGivesThemAgainAndAnotherOnesDiffer) {
  EXPECT_EQ(seconds({constant(5), 0.7}, 100, 3), seconds({constant(5), 0.7}, 100, 3));
  EXPECT_NE(seconds({constant(5), 0.7}, 100, 3), seconds({constant(5), 0.7}, 100, 4));
}

TEST(Arrivals, RampInALineAndThenStay) {
  const auto times = seconds({std::vector{RatePiece{0, 100, 10}}, kInfinity}, 1000);
  // t seconds into the ramp 5 t^2 requests were due.
  EXPECT_NEAR(times[19], 2, 1e-6);
  EXPECT_NEAR(times[179], 6, 1e-6);
  EXPECT_NEAR(times[499], 10, 1e-6);
  EXPECT_NEAR(times[599], 11, 1e-6);
}

TEST(Arrivals, FollowStepsAndTheirSilences) {
  const OpenLoop loop{std::vector<RatePiece>{{10, 10, 5}, {0, 0, 5}, {40, 40, 5}}, kInfinity};
  const auto times = seconds(loop, 400);
  EXPECT_EQ(count_in(times, 0, 5), 49);  // the 50th falls on the end of the step
  EXPECT_EQ(count_in(times, 5.001, 10), 0);
  EXPECT_NEAR(count_in(times, 10, 15), 200, 1);
  EXPECT_NEAR(count_in(times, 15, 16), 40, 1);
}

TEST(Arrivals, EndWhenTheRateIsZeroForGood) {
  const OpenLoop loop{std::vector<RatePiece>{{10, 10, 5}, {0, 0, 1}}, kInfinity};
  EXPECT_NEAR(static_cast<double>(seconds(loop, 400).size()), 50, 1);
}

TEST(Arrivals, SwingWithASine) {
  const auto times = seconds({RateSine{100, 1, 20}, kInfinity}, 4000);
  for (double t = 1; t < 39; t += 1.7) {
    const double turn = 2 * std::numbers::pi / 20;
    EXPECT_NEAR(count_in(times, 0, t), 100 * (t + (1 - std::cos(turn * t)) / turn), 1.01) << t;
  }
}

TEST(Saturation, IsALineThatRisesAndNotItsBeginning) {
  Saturation saturation(10'000'000'000);
  bool found = false;
  for (int i = 0; i < 19 * 4; ++i) found |= saturation.add(i * kQuarterSecond, i * 5.0);
  EXPECT_FALSE(found);  // within two windows anything may rise
  for (int i = 19 * 4; i < 25 * 4; ++i) found |= saturation.add(i * kQuarterSecond, i * 5.0);
  EXPECT_TRUE(found);
}

TEST(Saturation, IsNotNoiseAroundALevelNorAFewMore) {
  Random random(1, Draw::kSample);
  Saturation noise(5'000'000'000);
  Saturation few(5'000'000'000);
  for (int i = 0; i < 2000; ++i) {
    EXPECT_FALSE(noise.add(i * kQuarterSecond, 20 + 40 * random.uniform())) << i;
    EXPECT_FALSE(few.add(i * kQuarterSecond, i % 20 * 0.3)) << i;
  }
}

}  // namespace
}  // namespace switchyard
