// Exact order statistics of measured values, how sure they are, and how evenly things are shared.
// Plain mathematics: knows no requests, units or files. Never samples and never bins: a percentile
// is one of the values, or lies between two neighbours.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

struct Percentile {
  const char* name;   // in JSON and CSV
  const char* title;  // for people
  double share;
};
inline constexpr std::array<Percentile, 5> kPercentiles = {{{"p50", "p50", 0.5},
                                                            {"p90", "p90", 0.9},
                                                            {"p95", "p95", 0.95},
                                                            {"p99", "p99", 0.99},
                                                            {"p99_9", "p99.9", 0.999}}};

// A value and the interval that holds the truth in 95 of 100 runs, or ends with the greatest value
// where the truth may lie beyond all of them.
struct Estimate {
  double value = 0;
  double low = 0;
  double high = 0;
};

// Values, some of which belong together: the gaps of one answer resemble each other more than
// those of two answers, so ten thousand gaps of ten answers say less than their number.
class Samples {
 public:
  // A value of its own.
  void add(double value) {
    values_.push_back(value);
    ends_.push_back(values_.size());
  }
  // The same value `times` times in the group that is being filled; end_group() closes it.
  void add_to_group(double value, size_t times = 1) { values_.insert(values_.end(), times, value); }
  void end_group() {
    if (values_.size() > (ends_.empty() ? 0 : ends_.back())) ends_.push_back(values_.size());
  }

  [[nodiscard]] std::span<const double> values() const { return values_; }
  [[nodiscard]] size_t groups() const { return ends_.size(); }
  [[nodiscard]] std::span<const double> group(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return values().subspan(begin, ends_[i] - begin);
  }

 private:
  std::vector<double> values_;
  std::vector<size_t> ends_;  // of the groups in values_, rising
};

struct Distribution {
  int64_t count = 0;
  int64_t groups = 0;
  double min = 0;
  double max = 0;
  double deviation = 0;  // of the values, not of the mean
  Estimate mean;
  std::array<Estimate, kPercentiles.size()> percentiles;
  // The values at curve_shares(), for a picture; empty without values.
  std::vector<double> curve;
};

// 0, 0.01 .. 0.99, 0.991 .. 0.999, 0.9991 .. 0.9999, 1: finer where the tail is.
std::span<const double> curve_shares();

// The value below which `share` of the rising values lie, between neighbours where it falls
// between them (Hyndman and Fan 1996, type 7; what numpy and R do). 0 without values.
double quantile(std::span<const double> rising, double share);

// The interval of a percentile is between two of the values: how many of n lie below the true
// percentile is binomial, whatever they are distributed like (Conover, Practical Nonparametric
// Statistics, 3.2). Resampling tends to the same where the values are many and takes it too narrow
// where few lie beyond. Of groups, n is what Woodruff's variance of a share over groups says that
// their values are worth (JASA 47, 1952). The interval of the mean is resampled, from `seed`.
Distribution describe(const Samples& samples, uint64_t seed);

// sum of sums / sum of counts, the groups being what is resampled: 1000 seeded resamples, or, of
// more than 2,000 groups, the normal distribution that they tend to.
struct GroupTotal {
  double sum = 0;
  double count = 0;
};
Estimate bootstrap_ratio(std::span<const GroupTotal> groups, uint64_t seed);

// Jain's index: 1 when all have the same, 1/n when one has everything (Jain, Chiu, Hawe 1984).
// 1 without values or when nobody has anything.
double jain_fairness(std::span<const double> shares);

}  // namespace switchyard
