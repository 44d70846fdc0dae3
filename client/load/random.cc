#include "client/load/random.h"

#include <cmath>
#include <numbers>

namespace switchyard {
namespace {

// splitmix64's step: every bit of the input moves about half of the output's.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

uint64_t rotate(uint64_t value, int bits) { return (value << bits) | (value >> (64 - bits)); }

}  // namespace

Random::Random(uint64_t seed, Draw purpose, std::initializer_list<uint64_t> keys) {
  uint64_t state = mix(mix(seed) ^ static_cast<uint64_t>(purpose));
  for (const uint64_t key : keys) state = mix(state ^ mix(key));
  for (uint64_t& word : state_) word = state = mix(state);
}

// xoshiro256** (Blackman and Vigna 2018).
uint64_t Random::next() {
  const uint64_t result = rotate(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = rotate(state_[3], 45);
  return result;
}

double Random::uniform() {
  return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52;  // never 0, never 1
}

uint64_t Random::below(uint64_t end) {
  // What lies above the largest multiple of `end` would favour small values.
  const uint64_t whole = UINT64_MAX - UINT64_MAX % end;
  uint64_t value = next();
  while (value >= whole) value = next();
  return value % end;
}

double Random::exponential() { return -std::log(uniform()); }

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

double Random::gamma(double shape) {
  // Marsaglia and Tsang 2000; below 1 by way of shape + 1.
  if (shape < 1) {
    const double power = std::pow(uniform(), 1 / shape);
    return gamma(shape + 1) * power * (shape + 1) / shape;
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal();
    const double v = std::pow(1 + c * x, 3);
    if (v <= 0) continue;
    if (std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v / shape;
  }
}

}  // namespace switchyard
