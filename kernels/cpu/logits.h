// Passes over one row of logits: its maximum, the mass of its exponentials, its largest entries.
// Knows nothing of sampling rules.
#pragma once

#include <cstdint>
#include <vector>

namespace switchyard::cpu {

constexpr int64_t kLogitChunk = 1024;

struct LogitSummary {
  float largest = 0;    // -infinity if every entry is
  bool broken = false;  // holds a NaN or +infinity
};
LogitSummary summarise(const float* logits, int64_t count);

// weight[i] = exp((logits[i] - largest) * inverse_temperature), at most 1; returns their sum.
// count <= kLogitChunk. The same bits for the same chunk, every time.
struct ExponentialRule {
  float largest = 0;
  float inverse_temperature = 1;
};
double exponentials(const float* logits, int64_t count, const ExponentialRule& rule, float* weight);

struct Candidate {
  float logit = 0;
  int32_t token = 0;
};

// The larger logit first; the lower id first among equals.
inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Fills `found` with the entries >= threshold, in rising token order.
void collect_at_least(const float* logits,
                      int64_t count,
                      float threshold,
                      std::vector<Candidate>& found);

// Fills `found` with the `wanted` first entries by ranks_before, in that order (fewer if there are
// fewer); -infinity is never among them. `block_largest` is scratch.
void collect_largest(const float* logits,
                     int64_t count,
                     int64_t wanted,
                     std::vector<float>& block_largest,
                     std::vector<Candidate>& found);

}  // namespace switchyard::cpu
