// Passes over one row of logits, vectorised where all entries are looked at.
#include "kernels/cpu/logits.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/logits.cc"
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

LogitSummary summarise(const float* logits, int64_t count) {
  const FloatTag d;
  const float infinity = std::numeric_limits<float>::infinity();
  Floats largest = hn::Set(d, -infinity);
  auto fine = hn::FirstN(d, kLanes);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats value = hn::LoadU(d, logits + i);
    fine = hn::And(fine, hn::Lt(value, hn::Set(d, infinity)));  // false for a NaN too
    largest = hn::Max(largest, value);
  }
  LogitSummary summary{.largest = hn::GetLane(hn::MaxOfLanes(d, largest)),
                       .broken = !hn::AllTrue(d, fine)};
  for (; i < count; ++i) {
    summary.broken = summary.broken || !(logits[i] < infinity);
    summary.largest = std::max(summary.largest, logits[i]);
  }
  return summary;
}

double exponentials(const float* logits,
                    int64_t count,
                    const ExponentialRule& rule,
                    float* weight) {
  const FloatTag d;
  const Floats shift = hn::Set(d, rule.largest);
  const Floats scale = hn::Set(d, rule.inverse_temperature);
  // exp(-200) is zero in f32; the bound keeps -infinity * 0 and the like out.
  const Floats least = hn::Set(d, -200.0f);
  Floats total = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = std::min<int64_t>(kLanes, count - i);
    const Floats logit =
        left == kLanes ? hn::LoadU(d, logits + i) : load_first<StoredF32>(logits + i, left);
    const Floats exponent = hn::Max(least, hn::Mul(hn::Sub(logit, shift), scale));
    const Floats value =
        hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(left)), hn::Exp(d, exponent));
    if (left == kLanes) {
      hn::StoreU(value, d, weight + i);
    } else {
      store_first(value, weight + i, left);
    }
    total = hn::Add(total, value);
  }
  return static_cast<double>(sum(total));
}

float largest_of(const float* logits, int64_t count) {
  const FloatTag d;
  Floats largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) largest = hn::Max(largest, hn::LoadU(d, logits + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) result = std::max(result, logits[i]);
  return result;
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(summarise);
LogitSummary summarise(const float* logits, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(summarise)(logits, count);
}

HWY_EXPORT(exponentials);
double exponentials(const float* logits,
                    int64_t count,
                    const ExponentialRule& rule,
                    float* weight) {
  return HWY_DYNAMIC_DISPATCH(exponentials)(logits, count, rule, weight);
}

HWY_EXPORT(largest_of);

namespace {

constexpr int64_t kBlock = 128;

float largest_of(const float* logits, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(largest_of)(logits, count);
}

}  // namespace

void collect_at_least(const float* logits,
                      int64_t count,
                      float threshold,
                      std::vector<Candidate>& found) {
  found.clear();
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    if (!(largest_of(logits + begin, end - begin) >= threshold)) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (logits[i] >= threshold) found.push_back({logits[i], static_cast<int32_t>(i)});
    }
  }
}

void collect_largest(const float* logits,
                     int64_t count,
                     int64_t wanted,
                     std::vector<float>& block_largest,
                     std::vector<Candidate>& found) {
  found.clear();
  if (wanted <= 0) return;
  // The wanted-th largest of the blocks' maxima is a bound: at least `wanted` entries reach it.
  block_largest.clear();
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    block_largest.push_back(largest_of(logits + begin, std::min(kBlock, count - begin)));
  }
  float threshold = std::numeric_limits<float>::lowest();
  if (wanted <= static_cast<int64_t>(block_largest.size())) {
    const auto nth = block_largest.begin() + (wanted - 1);
    std::nth_element(block_largest.begin(), nth, block_largest.end(), std::greater<>());
    threshold = std::max(threshold, *nth);
  }
  collect_at_least(logits, count, threshold, found);
  const auto keep = std::min<int64_t>(wanted, static_cast<int64_t>(found.size()));
  std::partial_sort(found.begin(), found.begin() + keep, found.end(), ranks_before);
  found.resize(keep);
}

}  // namespace switchyard::cpu
#endif
