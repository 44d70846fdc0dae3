#include "client/load/statistics.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <numeric>
#include <random>

namespace switchyard {
namespace {

constexpr double kTail = 0.025;           // left out at each end of an interval
constexpr double kNormalTail = 1.959964;  // of the standard normal distribution
constexpr int kResamples = 1000;
constexpr size_t kMostResampledGroups = 2000;

// No exceptions out of Boost: what cannot be computed is not a number.
using Quiet = boost::math::policies::policy<
    boost::math::policies::domain_error<boost::math::policies::ignore_error>,
    boost::math::policies::pole_error<boost::math::policies::ignore_error>,
    boost::math::policies::overflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::evaluation_error<boost::math::policies::ignore_error>,
    boost::math::policies::promote_double<false>>;

// How many independent values say as much about the share of values up to `limit` as these do.
double effective_count(const Samples& samples, double limit) {
  const auto count = static_cast<double>(samples.values().size());
  const auto groups = static_cast<double>(samples.groups());
  if (samples.groups() == samples.values().size()) return count;
  if (samples.groups() < 2) return 1;
  std::vector<GroupTotal> totals(samples.groups());
  double below = 0;
  for (size_t i = 0; i < totals.size(); ++i) {
    const std::span<const double> group = samples.group(i);
    totals[i].count = static_cast<double>(group.size());
    totals[i].sum =
        static_cast<double>(std::ranges::count_if(group, [&](double v) { return v <= limit; }));
    below += totals[i].sum;
  }
  const double share = below / count;
  double squares = 0;
  for (const GroupTotal& total : totals) {
    const double off = total.sum - share * total.count;
    squares += off * off;
  }
  const double variance = groups / (groups - 1) * squares / (count * count);
  if (variance <= 0) return count;
  return std::clamp(share * (1 - share) / variance, 1.0, count);
}

// The real k at which P(Binomial(count, share) <= k) is `probability`; between -1 and count.
double binomial_quantile(double count, double share, double probability) {
  double low = -1;
  double high = count;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    const bool below =
        boost::math::ibeta(count - middle, middle + 1, 1 - share, Quiet()) < probability;
    (below ? low : high) = middle;
  }
  return low;
}

Estimate percentile(const Samples& samples, std::span<const double> rising, double share) {
  Estimate estimate;
  estimate.value = quantile(rising, share);
  const double count = effective_count(samples, estimate.value);
  const double each = static_cast<double>(rising.size()) / count;
  const auto at = [&rising](double index) {
    return rising[static_cast<size_t>(
        std::clamp(index, 0.0, static_cast<double>(rising.size() - 1)))];
  };
  // The value may lie between two of the sample, of which the interval's ends are some.
  estimate.low =
      std::min(at(std::floor(binomial_quantile(count, share, kTail) * each)), estimate.value);
  estimate.high =
      std::max(at(std::ceil(binomial_quantile(count, share, 1 - kTail) * each)), estimate.value);
  return estimate;
}

}  // namespace

std::span<const double> curve_shares() {
  static const std::vector<double> shares = [] {
    std::vector<double> all;
    for (int i = 0; i <= 99; ++i) all.push_back(i / 100.0);
    for (int i = 991; i <= 999; ++i) all.push_back(i / 1000.0);
    for (int i = 9991; i <= 9999; ++i) all.push_back(i / 10000.0);
    all.push_back(1);
    return all;
  }();
  return shares;
}

double quantile(std::span<const double> rising, double share) {
  if (rising.empty()) return 0;
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(rising.size() - 1);
  const auto below = static_cast<size_t>(at);
  if (below + 1 >= rising.size()) return rising.back();
  return std::lerp(rising[below], rising[below + 1], at - static_cast<double>(below));
}

Estimate bootstrap_ratio(std::span<const GroupTotal> groups, uint64_t seed) {
  double sum = 0;
  double count = 0;
  for (const GroupTotal& group : groups) {
    sum += group.sum;
    count += group.count;
  }
  if (count <= 0) return {};
  const double ratio = sum / count;
  if (groups.size() < 2) return {ratio, ratio, ratio};
  if (groups.size() > kMostResampledGroups) {
    double squares = 0;
    for (const GroupTotal& group : groups) {
      const double off = group.sum - ratio * group.count;
      squares += off * off;
    }
    const auto n = static_cast<double>(groups.size());
    const double deviation = std::sqrt(n / (n - 1) * squares) / count;
    return {ratio, ratio - kNormalTail * deviation, ratio + kNormalTail * deviation};
  }
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<size_t> pick(0, groups.size() - 1);
  std::vector<double> ratios;
  ratios.reserve(kResamples);
  for (int i = 0; i < kResamples; ++i) {
    GroupTotal drawn;
    for (size_t draw = 0; draw < groups.size(); ++draw) {
      const GroupTotal& group = groups[pick(random)];
      drawn.sum += group.sum;
      drawn.count += group.count;
    }
    if (drawn.count > 0) ratios.push_back(drawn.sum / drawn.count);
  }
  std::ranges::sort(ratios);
  if (ratios.empty()) return {ratio, ratio, ratio};
  return {ratio, std::min(quantile(ratios, kTail), ratio),
          std::max(quantile(ratios, 1 - kTail), ratio)};
}

Distribution describe(const Samples& samples, uint64_t seed) {
  Distribution d;
  if (samples.values().empty()) return d;
  std::vector<double> rising(samples.values().begin(), samples.values().end());
  std::ranges::sort(rising);
  d.count = static_cast<int64_t>(rising.size());
  d.groups = static_cast<int64_t>(samples.groups());
  d.min = rising.front();
  d.max = rising.back();
  std::vector<GroupTotal> totals(samples.groups());
  for (size_t i = 0; i < totals.size(); ++i) {
    const std::span<const double> group = samples.group(i);
    totals[i] = {std::accumulate(group.begin(), group.end(), 0.0),
                 static_cast<double>(group.size())};
  }
  d.mean = bootstrap_ratio(totals, seed);
  double squares = 0;
  for (const double value : rising) squares += (value - d.mean.value) * (value - d.mean.value);
  d.deviation = rising.size() < 2 ? 0 : std::sqrt(squares / static_cast<double>(rising.size() - 1));
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    d.percentiles[i] = percentile(samples, rising, kPercentiles[i].share);
  }
  for (const double share : curve_shares()) d.curve.push_back(quantile(rising, share));
  return d;
}

double jain_fairness(std::span<const double> shares) {
  double sum = 0;
  double squares = 0;
  for (const double share : shares) {
    sum += share;
    squares += share * share;
  }
  return squares > 0 ? sum * sum / (static_cast<double>(shares.size()) * squares) : 1;
}

}  // namespace switchyard
