// Vectors of f32 loaded from the formats that weights and caches are stored in, for the target
// being compiled (included once per instruction set by Highway). No arithmetic.
#if defined(SWITCHYARD_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_LANES_INL_H_
#undef SWITCHYARD_KERNELS_CPU_LANES_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_LANES_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using Floats = hn::Vec<FloatTag>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(FloatTag()));

struct StoredF32 {
  using Element = float;
  static HWY_INLINE Floats load(const float* from) { return hn::LoadU(FloatTag(), from); }
};

struct StoredBf16 {
  using Element = uint16_t;
  static HWY_INLINE Floats load(const uint16_t* from) {
    const hn::Rebind<uint16_t, FloatTag> half;
    const hn::RebindToUnsigned<FloatTag> bits;
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, from))));
  }
};

struct StoredF16 {
  using Element = uint16_t;
  static HWY_INLINE Floats load(const uint16_t* from) {
    const hn::Rebind<hwy::float16_t, FloatTag> half;
    return hn::PromoteTo(FloatTag(),
                         hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
  }
};

// The first `count` < kLanes elements, zeros behind them; reads no further.
template <class Stored>
HWY_INLINE Floats load_first(const typename Stored::Element* from, int64_t count) {
  HWY_ALIGN typename Stored::Element padded[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = from[i];
  return Stored::load(padded);
}

HWY_INLINE void store_first(Floats values, float* to, int64_t count) {
  HWY_ALIGN float all[kLanes] = {};
  hn::Store(values, FloatTag(), all);
  for (int64_t i = 0; i < count; ++i) to[i] = all[i];
}

HWY_INLINE float sum(Floats values) { return hn::GetLane(hn::SumOfLanes(FloatTag(), values)); }

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SWITCHYARD_KERNELS_CPU_LANES_INL_H_
