// Arrivals: when requests are meant to be sent in an open loop, whatever becomes of them.
// A pure function of specification and seed; never looks at a clock.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "client/load/random.h"

namespace switchyard {

// The rate runs straight from one value to the other; both the same: it is constant.
struct RatePiece {
  double from = 0;  // requests/s
  double to = 0;
  double seconds = 0;
};

// mean * (1 + amplitude * sin(2 pi t / period)), in requests/s.
struct RateSine {
  double mean = 0;
  double amplitude = 0;  // [0, 1]
  double period_seconds = 0;
};

// Constant, ramp and steps are pieces; the last piece's end goes on for ever.
using RateCurve = std::variant<std::vector<RatePiece>, RateSine>;

// The gaps between requests, measured in expected requests, are independent draws of mean 1.
struct OpenLoop {
  RateCurve rate;
  // Shape of the gaps' gamma distribution: 1 is a Poisson process, less comes in bursts, more is
  // more even, infinity is exactly even.
  double burstiness = 1;
};

// So many users; each asks again when its answer has ended and it has thought.
struct ClosedLoop {
  int32_t concurrency = 1;
  // The users' first requests are spread evenly over this time: nothing is late because all of
  // them are due at once.
  double ramp_up_seconds = 0;
};

class Arrivals {
 public:
  Arrivals(OpenLoop loop, uint64_t seed);

  // Nanoseconds since the start, never falling. Nothing: the rate has become zero for good.
  std::optional<int64_t> next();

 private:
  double gap();
  std::optional<double> advance(const std::vector<RatePiece>& pieces, double work);
  [[nodiscard]] double advance(const RateSine& sine) const;

  const OpenLoop loop_;
  Random random_;
  double work_ = 0;  // expected requests until the last arrival; in pieces: since the piece's start
  double seconds_ = 0;  // of the last arrival
  size_t piece_ = 0;
  double piece_start_ = 0;  // seconds
};

}  // namespace switchyard
