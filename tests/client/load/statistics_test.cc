// Percentiles, their intervals and fairness against values worked out by hand or by brute force.
#include "client/load/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace switchyard::test {
namespace {

Samples samples_of(const std::vector<double>& values) {
  Samples samples;
  for (const double value : values) samples.add(value);
  return samples;
}

TEST(Quantile, LiesBetweenNeighboursAsNumpyHasIt) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 3);    // numpy.quantile([1, 2, 4, 8], .5)
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 6.8);  // at 2.7 of 0..3
  EXPECT_DOUBLE_EQ(quantile(values, 1), 8);
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0);
  EXPECT_DOUBLE_EQ(quantile(std::vector<double>{7}, 0.999), 7);
}

TEST(Distribution, OfOneToAHundred) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const Distribution d = describe(samples_of(values), 1);
  EXPECT_EQ(d.count, 100);
  EXPECT_EQ(d.groups, 100);
  EXPECT_DOUBLE_EQ(d.min, 1);
  EXPECT_DOUBLE_EQ(d.max, 100);
  EXPECT_DOUBLE_EQ(d.mean.value, 50.5);
  EXPECT_NEAR(d.deviation, 29.0115, 1e-4);
  EXPECT_DOUBLE_EQ(d.percentiles[0].value, 50.5);
  EXPECT_NEAR(d.percentiles[1].value, 90.1, 1e-9);
  EXPECT_NEAR(d.percentiles[3].value, 99.01, 1e-9);
  EXPECT_EQ(d.curve.size(), curve_shares().size());
}

TEST(Distribution, OfNothingIsEmptyAndOfOneValueIsThatValue) {
  EXPECT_EQ(describe({}, 1).count, 0);
  const Distribution d = describe(samples_of({3}), 1);
  for (const Estimate& percentile : d.percentiles) {
    EXPECT_DOUBLE_EQ(percentile.value, 3);
    EXPECT_DOUBLE_EQ(percentile.low, 3);
    EXPECT_DOUBLE_EQ(percentile.high, 3);
  }
}

TEST(Distribution, DoesNotDependOnTheOrderOfItsValues) {
  std::mt19937_64 random(3);
  std::vector<double> values(5000);
  for (double& value : values) value = std::exponential_distribution<double>(0.1)(random);
  const Distribution one = describe(samples_of(values), 9);
  std::ranges::reverse(values);
  const Distribution other = describe(samples_of(values), 9);
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    EXPECT_EQ(one.percentiles[i].value, other.percentiles[i].value);
    EXPECT_EQ(one.percentiles[i].low, other.percentiles[i].low);
    EXPECT_EQ(one.percentiles[i].high, other.percentiles[i].high);
  }
}

// The bootstrap as it is usually done: resample, take the percentile, sort what came out.
Estimate brute_force(const std::vector<double>& values, double share, std::mt19937_64& random) {
  std::uniform_int_distribution<size_t> pick(0, values.size() - 1);
  std::vector<double> resampled(values.size());
  std::vector<double> found;
  for (int i = 0; i < 1000; ++i) {
    for (double& value : resampled) value = values[pick(random)];
    std::ranges::sort(resampled);
    found.push_back(quantile(resampled, share));
  }
  std::ranges::sort(found);
  return {quantile(found, 0.5), quantile(found, 0.025), quantile(found, 0.975)};
}

TEST(Distribution, HasTheIntervalsThatResamplingTendsTo) {
  std::mt19937_64 random(17);
  std::vector<double> values(2000);
  for (double& value : values) value = std::lognormal_distribution<double>(4, 0.6)(random);
  const Distribution d = describe(samples_of(values), 5);
  for (const size_t i : {0u, 1u, 2u}) {
    const Estimate expected = brute_force(values, kPercentiles[i].share, random);
    const double width = expected.high - expected.low;
    EXPECT_NEAR(d.percentiles[i].low, expected.low, 0.2 * width) << kPercentiles[i].title;
    EXPECT_NEAR(d.percentiles[i].high, expected.high, 0.2 * width) << kPercentiles[i].title;
  }
}

// In which share of 200 samples the interval of each percentile holds its truth.
template <typename Draw>
std::vector<double> coverage(const std::vector<double>& truths, const Draw& draw) {
  std::mt19937_64 random(23);
  std::vector<double> held(truths.size());
  for (int i = 0; i < 200; ++i) {
    const Distribution d = describe(draw(random), 1);
    for (size_t j = 0; j < truths.size(); ++j) {
      const Estimate& estimate = d.percentiles[j];
      if (estimate.low <= truths[j] && truths[j] <= estimate.high) held[j] += 1 / 200.0;
    }
  }
  return held;
}

TEST(Distribution, HasIntervalsThatHoldTheTruthInNinetyFiveOfAHundred) {
  const auto draw = [](std::mt19937_64& random) {
    Samples samples;
    for (int i = 0; i < 500; ++i) samples.add(std::exponential_distribution<double>(1)(random));
    return samples;
  };
  for (const double share :
       coverage({std::log(2), std::log(10), std::log(20), std::log(100)}, draw)) {
    EXPECT_GT(share, 0.92);
    EXPECT_LT(share, 0.99);
  }
}

TEST(Distribution, IsNoSurerOfManyGapsOfFewAnswers) {
  // 50 answers, each slow or fast as a whole: N(0, 1) for the answer, N(0, 0.1) for its gaps.
  const auto draw = [](std::mt19937_64& random) {
    Samples samples;
    std::normal_distribution<double> answer(0, 1);
    std::normal_distribution<double> gap(0, 0.1);
    for (int i = 0; i < 50; ++i) {
      const double speed = answer(random);
      for (int j = 0; j < 40; ++j) samples.add_to_group(speed + gap(random));
      samples.end_group();
    }
    return samples;
  };
  EXPECT_NEAR(coverage({0}, draw)[0], 0.95, 0.05);
  std::mt19937_64 random(1);
  const Samples samples = draw(random);
  const std::vector<double> alone(samples.values().begin(), samples.values().end());
  const Estimate grouped = describe(samples, 1).percentiles[0];
  const Estimate naive = describe(samples_of(alone), 1).percentiles[0];
  EXPECT_GT(grouped.high - grouped.low, 4 * (naive.high - naive.low));
}

TEST(Distribution, OfAMillionValuesTakesNoResampling) {
  std::mt19937_64 random(5);
  Samples samples;
  for (int i = 0; i < 1'000'000; ++i) samples.add(std::exponential_distribution<double>(1)(random));
  const Distribution d = describe(samples, 1);
  EXPECT_NEAR(d.percentiles[0].value, std::log(2), 0.01);
  EXPECT_NEAR(d.percentiles[4].value, std::log(1000), 0.15);
  EXPECT_NEAR(d.mean.high - d.mean.low, 2 * 1.96 / 1000, 1e-4);
}

TEST(BootstrapRatio, IsTheMeanWithAnIntervalOfItsDeviation) {
  std::mt19937_64 random(2);
  std::vector<GroupTotal> groups(900);
  for (GroupTotal& group : groups) group = {std::normal_distribution<double>(10, 3)(random), 1};
  const Estimate estimate = bootstrap_ratio(groups, 4);
  EXPECT_NEAR(estimate.value, 10, 0.4);
  EXPECT_NEAR(estimate.high - estimate.low, 2 * 1.96 * 3 / 30, 0.06);
  const Estimate again = bootstrap_ratio(groups, 4);
  EXPECT_EQ(estimate.low, again.low);
  EXPECT_EQ(estimate.high, again.high);
}

TEST(BootstrapRatio, TendsToTheNormalDistributionThatManyGroupsGet) {
  std::mt19937_64 random(2);
  std::vector<GroupTotal> groups;
  for (int i = 0; i < 2000; ++i) {
    const double count = 1 + static_cast<double>(random() % 5);
    groups.push_back({count * std::exponential_distribution<double>(1)(random), count});
  }
  const Estimate resampled = bootstrap_ratio(groups, 4);
  groups.push_back(groups.front());
  const Estimate normal = bootstrap_ratio(groups, 4);
  EXPECT_NEAR(resampled.value, normal.value, 1e-3);
  EXPECT_NEAR(resampled.low, normal.low, 0.008);
  EXPECT_NEAR(resampled.high, normal.high, 0.008);
}

TEST(BootstrapRatio, WeighsGroupsByTheirCount) {
  EXPECT_DOUBLE_EQ(bootstrap_ratio(std::vector<GroupTotal>{{10, 1}, {0, 4}}, 1).value, 2);
  EXPECT_DOUBLE_EQ(bootstrap_ratio({}, 1).value, 0);
}

TEST(Jain, IsOneForEqualSharesAndOneNthForOneTaker) {
  EXPECT_DOUBLE_EQ(jain_fairness(std::vector<double>{2, 2, 2}), 1);
  EXPECT_DOUBLE_EQ(jain_fairness(std::vector<double>{0, 0, 5, 0}), 0.25);
  EXPECT_DOUBLE_EQ(jain_fairness(std::vector<double>{1, 2, 3}), 36.0 / (3 * 14));
  EXPECT_DOUBLE_EQ(jain_fairness({}), 1);
  EXPECT_DOUBLE_EQ(jain_fairness(std::vector<double>{0, 0}), 1);
}

}  // namespace
}  // namespace switchyard::test
