// Normal random numbers, for weights of models whose checkpoint is not at hand.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pack.h"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
__device__ uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Box and Muller: two numbers from one draw.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    fill(T* out, int64_t elements, uint64_t seed, float deviation) {
  wait_for_previous();
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t pair = int64_t{blockIdx.x} * kThreads + threadIdx.x; 2 * pair < elements;
       pair += stride) {
    const uint64_t bits = mix(seed + 0x9e3779b97f4a7c15 * static_cast<uint64_t>(pair + 1));
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
    const float v = static_cast<float>((bits >> 8) & 0xffffff) * 0x1p-24f;
    const float radius = deviation * sqrtf(-2.0f * logf(u));
    float sine, cosine;
    sincospif(2.0f * v, &sine, &cosine);
    out[2 * pair] = static_cast<T>(radius * cosine);
    if (2 * pair + 1 < elements) out[2 * pair + 1] = static_cast<T>(radius * sine);
  }
}

}  // namespace

void fill_normal(const Stream& on, const NormalArgs& args) {
  const int64_t elements = args.out.elements();
  const auto blocks = static_cast<unsigned>(
      std::min<int64_t>(ceil_div(elements, 2 * kThreads), on.multiprocessors * 16));
  if (args.out.dtype == DType::kF32) {
    launch(on, fill<float>, blocks, kThreads, 0, args.out.f32(), elements, args.seed,
           args.deviation);
  } else {
    launch(on, fill<__nv_bfloat16>, blocks, kThreads, 0, static_cast<__nv_bfloat16*>(args.out.data),
           elements, args.seed, args.deviation);
  }
}

}  // namespace switchyard::cuda
