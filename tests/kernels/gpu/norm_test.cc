// RMSNorm of rows, whole and gathered, against the reference. Called as the ops call it.
#include "kernels/cuda/norm.h"

#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

class Norm : public Device {
 protected:
  Owned normed(const NormedInput& input) {
    backend().synchronize();
    cuda::norm_input({.stream = nullptr}, input);
    CUDA_CHECK(cudaStreamSynchronize(nullptr));
    return get(input.normed);
  }
};

TEST_F(Norm, MatchesTheReferenceTwice) {
  for (const int64_t width : {1, 48, 77, 2048, 2052, 8192}) {
    for (const int64_t rows : {1, 5}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
      const Owned x = Owned::random(DType::kBf16, {rows, width}, 1, 3);
      const Owned gain = Owned::random(DType::kF32, {width}, 2);
      NormedInput input = {.x = put(x),
                           .gain = put(gain),
                           .epsilon = 1e-5F,
                           .normed = poisoned(DType::kBf16, {rows, width})};
      const Owned first = normed(input);
      reference::expect_close(first, reference::norm(x.values(), gain.values(), 1e-5),
                              kBf16Tolerance);
      input.normed = poisoned(DType::kBf16, {rows, width});
      EXPECT_TRUE(normed(input).same_bits(first));
    }
  }
}

TEST_F(Norm, GathersRows) {
  for (const int64_t width : {72, 45}) {
    const Owned x = Owned::random(DType::kBf16, {9, width}, 1);
    const Owned gain = Owned::random(DType::kF32, {width}, 2);
    const std::vector<int32_t> gather = {8, 0, 3, 3};
    const Owned got = normed({.x = put(x),
                              .gain = put(gain),
                              .epsilon = 1e-5F,
                              .normed = poisoned(DType::kBf16, {4, width}),
                              .gather = put(gather)});
    const Doubles all = reference::norm(x.values(), gain.values(), 1e-5);
    Doubles want;
    for (const int32_t row : gather) {
      want.insert(want.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
    }
    reference::expect_close(got, want, kBf16Tolerance);
  }
}

}  // namespace
}  // namespace switchyard::gpu
