#include "client/load/spread.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "client/load/failure.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t colon = text.find(':'); colon != text.npos; colon = text.find(':')) {
    parts.push_back(text.substr(0, colon));
    text.remove_prefix(colon + 1);
  }
  parts.push_back(text);
  return parts;
}

template <typename Number>
bool read(std::string_view text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end;
}

int64_t clamped(double value, const SpreadLimits& limits) {
  const double low = static_cast<double>(limits.least);
  const double high = static_cast<double>(limits.most);
  return static_cast<int64_t>(std::llround(std::clamp(value, low, high)));
}

}  // namespace

absl::StatusOr<Spread> Spread::parse(std::string_view text, const SpreadLimits& limits) {
  const auto malformed = [&] {
    return failure("\"", text.substr(0, 60),
                   "\" is none of N, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA[:MOST]",
                   " and exponential:MEAN[:MOST]");
  };
  const auto outside = [&](std::string_view what) {
    return failure(what, " of \"", text.substr(0, 60), "\" must be in [", limits.least, ", ",
                   limits.most, "]");
  };
  const auto inside = [&](auto value) {
    return static_cast<double>(value) >= static_cast<double>(limits.least) &&
           static_cast<double>(value) <= static_cast<double>(limits.most);
  };
  const std::vector<std::string_view> parts = split(text);
  const auto whole = [&](size_t i, int64_t& value) { return read(parts[i], value); };
  const auto real = [&](size_t i, double& value) {
    return read(parts[i], value) && std::isfinite(value);
  };

  if (parts.size() == 1) {
    int64_t value = 0;
    if (!whole(0, value)) return malformed();
    if (!inside(value)) return outside("the value");
    return Spread(value);
  }
  if (parts[0] == "uniform" && parts.size() == 3) {
    Uniform shape{};
    if (!whole(1, shape.low) || !whole(2, shape.high)) return malformed();
    if (!inside(shape.low)) return outside("LOW");
    if (!inside(shape.high)) return outside("HIGH");
    if (shape.low > shape.high) {
      return failure("LOW is above HIGH in \"", text, "\"");
    }
    return Spread(shape);
  }
  if (parts[0] == "lognormal" && (parts.size() == 3 || parts.size() == 4)) {
    LogNormal shape{.median = 0, .sigma = 0, .limits = limits};
    if (!real(1, shape.median) || !real(2, shape.sigma)) return malformed();
    if (parts.size() == 4 && !whole(3, shape.limits.most)) return malformed();
    if (shape.median <= 0 || !inside(shape.median)) return outside("MEDIAN");
    if (!inside(shape.limits.most)) return outside("MOST");
    constexpr double kMostSigma = 10;
    if (shape.sigma < 0 || shape.sigma > kMostSigma) {
      return failure("SIGMA of \"", text, "\" must be in [0, ", kMostSigma, "]");
    }
    return Spread(shape);
  }
  if (parts[0] == "exponential" && (parts.size() == 2 || parts.size() == 3)) {
    Exponential shape{.mean = 0, .limits = limits};
    if (!real(1, shape.mean)) return malformed();
    if (parts.size() == 3 && !whole(2, shape.limits.most)) return malformed();
    if (shape.mean <= 0 || !inside(shape.mean)) return outside("MEAN");
    if (!inside(shape.limits.most)) return outside("MOST");
    return Spread(shape);
  }
  return malformed();
}

int64_t Spread::draw(Random& random) const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) {
    const auto count = static_cast<uint64_t>(uniform->high - uniform->low) + 1;
    return uniform->low + static_cast<int64_t>(random.below(count));
  }
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) {
    return clamped(normal->median * std::exp(normal->sigma * random.normal()), normal->limits);
  }
  const auto& exponential = std::get<Exponential>(shape_);
  return clamped(exponential.mean * random.exponential(), exponential.limits);
}

int64_t Spread::least() const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) return uniform->low;
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) return normal->limits.least;
  return std::get<Exponential>(shape_).limits.least;
}

int64_t Spread::most() const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) return uniform->high;
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) return normal->limits.most;
  return std::get<Exponential>(shape_).limits.most;
}

std::string Spread::text() const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) {
    if (uniform->low == uniform->high) return words(uniform->low);
    return words("uniform:", uniform->low, ":", uniform->high);
  }
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) {
    return words("lognormal:", normal->median, ":", normal->sigma, ":", normal->limits.most);
  }
  const auto& exponential = std::get<Exponential>(shape_);
  return words("exponential:", exponential.mean, ":", exponential.limits.most);
}

}  // namespace switchyard
