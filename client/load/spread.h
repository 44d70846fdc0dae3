// Spread: how whole numbers such as lengths and waits are distributed, from a short text.
// Knows no unit; whoever draws gives the random source.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "client/load/random.h"

namespace switchyard {

struct SpreadLimits {
  int64_t least = 0;
  int64_t most = 0;
};

class Spread {
 public:
  // Always `value`.
  explicit Spread(int64_t value = 0) : shape_(Uniform{value, value}) {}

  // "N", "uniform:LOW:HIGH" (both included), "lognormal:MEDIAN:SIGMA[:MOST]" or
  // "exponential:MEAN[:MOST]". Every value lies within `limits`; the long tails of the last two are
  // cut there.
  static absl::StatusOr<Spread> parse(std::string_view text, const SpreadLimits& limits);

  [[nodiscard]] int64_t draw(Random& random) const;
  [[nodiscard]] int64_t least() const;
  [[nodiscard]] int64_t most() const;
  // As parse() takes it.
  [[nodiscard]] std::string text() const;

 private:
  struct Uniform {
    int64_t low, high;
  };
  struct LogNormal {
    double median, sigma;
    SpreadLimits limits;
  };
  struct Exponential {
    double mean;
    SpreadLimits limits;
  };
  using Shape = std::variant<Uniform, LogNormal, Exponential>;

  explicit Spread(Shape shape) : shape_(shape) {}

  Shape shape_;
};

}  // namespace switchyard
