// Saturation: whether more and more requests are in flight, from samples of how many there are.
// A decision on numbers; knows no driver.
#pragma once

#include <cstdint>
#include <deque>

namespace switchyard {

// Requests in flight fluctuate; a load above what the nodes can do makes them rise in a line.
class Saturation {
 public:
  // Looks at the last `window_ns`; 0: never finds anything.
  explicit Saturation(int64_t window_ns) : window_ns_(window_ns) {}

  // True: over a whole window the least-squares line through the samples rose by at least half of
  // their mean and by at least kLeastRise, and explains most of their variance.
  bool add(int64_t at_ns, double in_flight);

 private:
  static constexpr double kLeastRise = 8;
  static constexpr double kRiseOfMean = 0.5;
  static constexpr double kExplained = 0.7;

  struct Sample {
    double seconds;
    double in_flight;
  };

  const int64_t window_ns_;
  std::deque<Sample> samples_;
  int64_t first_ns_ = -1;
};

}  // namespace switchyard
