// Elementwise functions, vectorised. bytes: 3 * 4 * count.
#include "kernels/cpu/activation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cc"
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

HWY_INLINE Floats gated(Floats gate, Floats up) {
  const FloatTag d;
  // Beyond 88 exp overflows; the quotient is zero in f32 long before.
  const Floats exponent = hn::Min(hn::Neg(gate), hn::Set(d, 88.0f));
  const Floats divisor = hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent));
  return hn::Mul(hn::Div(gate, divisor), up);
}

void silu_multiply(float* gate, const float* up, int64_t count) {
  const FloatTag d;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(gated(hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, gate + i);
  }
  if (i < count) {
    const Floats rest =
        gated(load_first<StoredF32>(gate + i, count - i), load_first<StoredF32>(up + i, count - i));
    store_first(rest, gate + i, count - i);
  }
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(silu_multiply);
void silu_multiply(float* gate, const float* up, int64_t count) {
  HWY_DYNAMIC_DISPATCH(silu_multiply)(gate, up, count);
}

}  // namespace switchyard::cpu
#endif
