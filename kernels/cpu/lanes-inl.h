// Vectors of f32 loaded from the formats that weights and caches are stored in, for the target
// being compiled (included once per instruction set by Highway). No arithmetic. The codes of the
// quantised formats lie as in kernels/cpu/pack.h.
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

// Codes [k, k + kLanes) of a row, k a multiple of kLanes, and the scale of a group in every lane.
struct CodesInt8 {
  static constexpr int kBits = 8;
  static HWY_INLINE Floats load(const uint8_t* row, int64_t k) {
    const hn::Rebind<int8_t, FloatTag> narrow;
    const hn::RebindToSigned<FloatTag> wide;
    const auto codes = hn::LoadU(narrow, reinterpret_cast<const int8_t*>(row) + k);
    return hn::ConvertTo(FloatTag(), hn::PromoteTo(wide, codes));
  }
  static HWY_INLINE Floats scale(const void* scales, int64_t index) {
    const hn::Rebind<uint16_t, FloatTag> half;
    const hn::Rebind<hwy::float16_t, FloatTag> half_float;
    const auto bits = hn::Set(half, static_cast<const uint16_t*>(scales)[index]);
    return hn::PromoteTo(FloatTag(), hn::BitCast(half_float, bits));
  }
};

struct CodesInt4 {
  static constexpr int kBits = 4;
  static HWY_INLINE Floats load(const uint8_t* row, int64_t k) {
    const hn::RebindToSigned<FloatTag> wide;
    if constexpr (kLanes == 1) {
      const int code = row[k / 2] >> (k % 2 * 4) & 15;
      return hn::Set(FloatTag(), static_cast<float>(code - 8));
    } else {
      // A byte, widened, has its upper half moved to where the next byte begins.
      const hn::Rebind<uint8_t, FloatTag> bytes;
      const hn::Half<hn::Rebind<uint16_t, FloatTag>> pairs;
      const hn::Half<decltype(bytes)> packed;
      const auto both = hn::PromoteTo(pairs, hn::LoadU(packed, row + k / 2));
      const auto apart =
          hn::And(hn::Or(both, hn::ShiftLeft<4>(both)), hn::Set(pairs, uint16_t{0x0f0f}));
      const auto codes = hn::PromoteTo(wide, hn::BitCast(bytes, apart));
      return hn::ConvertTo(FloatTag(), hn::Sub(codes, hn::Set(wide, 8)));
    }
  }
  static HWY_INLINE Floats scale(const void* scales, int64_t index) {
    return CodesInt8::scale(scales, index);
  }
};

// The bits of an E4M3 number, moved to where those of an f16 are, mean 2^-8 of its value, also of a
// subnormal one; the scale makes up for it. (NaN, which packing does not write, reads as 480.)
struct CodesFp8 {
  static constexpr int kBits = 8;
  static HWY_INLINE Floats load(const uint8_t* row, int64_t k) {
    const hn::Rebind<uint8_t, FloatTag> narrow;
    const hn::Rebind<uint16_t, FloatTag> half;
    const hn::Rebind<hwy::float16_t, FloatTag> half_float;
    const auto bits = hn::PromoteTo(half, hn::LoadU(narrow, row + k));
    const auto sign = hn::And(hn::ShiftLeft<8>(bits), hn::Set(half, uint16_t{0x8000}));
    const auto rest = hn::And(hn::ShiftLeft<7>(bits), hn::Set(half, uint16_t{0x3f80}));
    return hn::PromoteTo(FloatTag(), hn::BitCast(half_float, hn::Or(sign, rest)));
  }
  static HWY_INLINE Floats scale(const void* scales, int64_t index) {
    return hn::Set(FloatTag(), static_cast<const float*>(scales)[index] * 256.0f);
  }
};

// The first `count` < kLanes codes at k, reading no further than their bytes.
template <class Codes>
HWY_INLINE Floats load_first_codes(const uint8_t* row, int64_t k, int64_t count) {
  HWY_ALIGN uint8_t padded[kLanes] = {};
  const uint8_t* from = row + k * Codes::kBits / 8;
  for (int64_t i = 0; i < (count * Codes::kBits + 7) / 8; ++i) padded[i] = from[i];
  return Codes::load(padded, 0);
}

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
