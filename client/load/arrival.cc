#include "client/load/arrival.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace switchyard {
namespace {

// Expected requests in the first `seconds` of a sine.
double expected(const RateSine& sine, double seconds) {
  const double turn = 2 * std::numbers::pi / sine.period_seconds;
  return sine.mean * (seconds + sine.amplitude / turn * (1 - std::cos(turn * seconds)));
}

// How long a piece takes to expect `work` requests, given that it expects as many in all.
double seconds_for(const RatePiece& piece, double work) {
  const double slope = (piece.to - piece.from) / piece.seconds;
  const double root = std::sqrt(std::max(0.0, piece.from * piece.from + 2 * slope * work));
  return work <= 0 ? 0 : 2 * work / (piece.from + root);  // holds for a slope of zero too
}

}  // namespace

Arrivals::Arrivals(OpenLoop loop, uint64_t seed)
    : loop_(std::move(loop)), random_(seed, Draw::kArrivals) {}

double Arrivals::gap() {
  if (std::isinf(loop_.burstiness)) return 1;
  if (loop_.burstiness == 1) return random_.exponential();
  return random_.gamma(loop_.burstiness);
}

std::optional<double> Arrivals::advance(const std::vector<RatePiece>& pieces, double work) {
  while (piece_ < pieces.size()) {
    const RatePiece& piece = pieces[piece_];
    const double all = (piece.from + piece.to) / 2 * piece.seconds;
    if (work < all) {
      work_ = work;
      return piece_start_ + std::min(seconds_for(piece, work), piece.seconds);
    }
    work -= all;
    piece_start_ += piece.seconds;
    ++piece_;
  }
  const double rate = pieces.back().to;
  if (rate <= 0) return std::nullopt;
  work_ = work;
  return piece_start_ + work / rate;
}

double Arrivals::advance(const RateSine& sine) const {
  // The sine's term is never negative: the mean alone takes no less time.
  double low = seconds_;
  double high = work_ / sine.mean + 1e-9;
  while (high - low > 1e-10 * std::max(1.0, high)) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;
    (expected(sine, middle) < work_ ? low : high) = middle;
  }
  return high;
}

std::optional<int64_t> Arrivals::next() {
  const double work = work_ + gap();
  if (const auto* pieces = std::get_if<std::vector<RatePiece>>(&loop_.rate)) {
    const std::optional<double> at = advance(*pieces, work);
    if (!at) return std::nullopt;
    seconds_ = std::max(seconds_, *at);
  } else {
    work_ = work;
    seconds_ = std::max(seconds_, advance(std::get<RateSine>(loop_.rate)));
  }
  constexpr double kLongestSeconds = 1e9;  // an int64 of nanoseconds ends at 9.2e9
  if (seconds_ > kLongestSeconds) return std::nullopt;
  return std::llround(seconds_ * 1e9);
}

}  // namespace switchyard
