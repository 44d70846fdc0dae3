// Eight bf16 numbers (16 bytes) or one of them as floats: kernels over the channels of a row are
// templates of how many a thread takes, 8 where sizes allow it and 1 elsewhere.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

template <int kCount>
struct Channels;

template <>
struct Channels<8> {
  using Raw = uint4;
  static __device__ __forceinline__ Raw load(const __nv_bfloat16* from) {
    return *reinterpret_cast<const uint4*>(from);
  }
  static __device__ __forceinline__ void widen(const Raw& raw, float (&value)[8]) {
    const uint32_t word[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack_bf16(word[i]);
      value[2 * i] = pair.x;
      value[2 * i + 1] = pair.y;
    }
  }
  static __device__ __forceinline__ Raw narrow(const float (&value)[8]) {
    return {pack_bf16(value[0], value[1]), pack_bf16(value[2], value[3]),
            pack_bf16(value[4], value[5]), pack_bf16(value[6], value[7])};
  }
  static __device__ __forceinline__ void store(__nv_bfloat16* to, const float (&value)[8]) {
    *reinterpret_cast<uint4*>(to) = narrow(value);
  }
  static __device__ __forceinline__ void load(const float* from, float (&value)[8]) {
    const float4 low = *reinterpret_cast<const float4*>(from);
    const float4 high = *reinterpret_cast<const float4*>(from + 4);
    value[0] = low.x, value[1] = low.y, value[2] = low.z, value[3] = low.w;
    value[4] = high.x, value[5] = high.y, value[6] = high.z, value[7] = high.w;
  }
  static __device__ __forceinline__ void store(float* to, const float (&value)[8]) {
    *reinterpret_cast<float4*>(to) = {value[0], value[1], value[2], value[3]};
    *reinterpret_cast<float4*>(to + 4) = {value[4], value[5], value[6], value[7]};
  }
};

template <>
struct Channels<1> {
  using Raw = __nv_bfloat16;
  static __device__ __forceinline__ Raw load(const __nv_bfloat16* from) { return *from; }
  static __device__ __forceinline__ void widen(const Raw& raw, float (&value)[1]) {
    value[0] = __bfloat162float(raw);
  }
  static __device__ __forceinline__ Raw narrow(const float (&value)[1]) {
    return __float2bfloat16_rn(value[0]);
  }
  static __device__ __forceinline__ void store(__nv_bfloat16* to, const float (&value)[1]) {
    *to = narrow(value);
  }
  static __device__ __forceinline__ void load(const float* from, float (&value)[1]) {
    value[0] = *from;
  }
  static __device__ __forceinline__ void store(float* to, const float (&value)[1]) {
    *to = value[0];
  }
};

// Whether rows of `width` numbers at these addresses can be read 16 bytes at a time.
inline bool in_eights(int64_t width, std::initializer_list<const void*> addresses) {
  bool aligned = width % 8 == 0;
  for (const void* address : addresses) {
    aligned = aligned && reinterpret_cast<uintptr_t>(address) % 16 == 0;
  }
  return aligned;
}

}  // namespace switchyard::cuda
