// Random: a seeded source of draws that gives the same values in every build. The standard
// library's distributions are each library's own, so they are not used.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace switchyard {

// What a stream of draws is for: streams of other purposes, or of the same with other keys, are
// independent, so that one more class or turn changes nobody else's draws.
enum class Draw : uint64_t {
  kArrivals,
  kConversation,
  kPrefix,
  kPrompt,
  kRequest,
  kTraceBlock,
  kSample,
  kRing,
};

class Random {
 public:
  Random(uint64_t seed, Draw purpose, std::initializer_list<uint64_t> keys = {});

  uint64_t next();               // any 64 bits
  double uniform();              // (0, 1)
  uint64_t below(uint64_t end);  // [0, end); end > 0
  double exponential();          // mean 1
  double normal();               // mean 0, deviation 1
  double gamma(double shape);    // mean 1, deviation 1 / sqrt(shape); shape > 0

 private:
  uint64_t state_[4];
};

}  // namespace switchyard
