// RMS norm: one pass for the sum of squares, one to scale. bytes: 3 * 4 * count.
#include "kernels/cpu/norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

void rms_norm(const float* x, const float* gain, float epsilon, int64_t count, float* out) {
  const FloatTag d;
  Floats squares = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats value = hn::LoadU(d, x + i);
    squares = hn::MulAdd(value, value, squares);
  }
  if (i < count) {
    const Floats value = load_first<StoredF32>(x + i, count - i);
    squares = hn::MulAdd(value, value, squares);
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(count) + epsilon);
  const Floats scales = hn::Set(d, scale);
  for (i = 0; i + kLanes <= count; i += kLanes) {
    const Floats scaled = hn::Mul(hn::LoadU(d, x + i), scales);
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, gain + i)), d, out + i);
  }
  for (; i < count; ++i) out[i] = x[i] * scale * gain[i];
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(rms_norm);
void rms_norm(const float* x, const float* gain, float epsilon, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm)(x, gain, epsilon, count, out);
}

void norm_input(ThreadPool& pool, const NormedInput& input) {
  if (input.gain.empty()) return;
  const float* x = input.x.f32();
  const float* gain = input.gain.f32();
  float* normed = input.normed.f32();
  const int64_t width = input.x.dim(1);
  const int64_t available = input.x.dim(0);
  pool.parallel_for(input.normed.dim(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = input.gather ? input.gather[i] : i;
      CHECK(from >= 0 && from < available);
      rms_norm(x + from * width, gain, input.epsilon, width, normed + i * width);
    }
  });
}

}  // namespace switchyard::cpu
#endif
