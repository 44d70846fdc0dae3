// The weighted sum behind the experts, against the reference.
#include "kernels/cuda/combine.h"

#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

class Combine : public Device {};

TEST_F(Combine, AddsWeighedProductsToTheResidual) {
  for (const int64_t width : {1, 45, 72, 2048}) {
    for (const int64_t top_k : {1, 4, 6}) {
      for (const int64_t tokens : {1, 7}) {
        SCOPED_TRACE(std::to_string(width) + ", " + std::to_string(top_k) + " of " +
                     std::to_string(tokens));
        const Owned residual = Owned::random(DType::kBf16, {tokens, width}, 1);
        const Owned work = Owned::random(DType::kBf16, {tokens * top_k, width}, 2);
        const Owned weight = Owned::random(DType::kF32, {tokens, top_k}, 3);
        ExpertDownArgs args = {.out = poisoned(DType::kBf16, {tokens, width}),
                               .hidden = {},
                               .residual = put(residual),
                               .routing = {},
                               .down = {},
                               .expert_work = put(work)};
        args.routing.weight = put(weight);
        Owned expert = Owned::poisoned(DType::kI32, {tokens, top_k});
        for (int64_t i = 0; i < tokens * top_k; ++i) expert.view().i32()[i] = 0;
        args.routing.expert = put(expert);
        const auto run = [&] {
          backend().synchronize();
          cuda::combine_experts({.stream = nullptr}, args);
          CUDA_CHECK(cudaStreamSynchronize(nullptr));
          return get(args.out);
        };
        const Owned first = run();
        Doubles want = residual.values();
        for (int64_t i = 0; i < tokens * width; ++i) {
          for (int64_t k = 0; k < top_k; ++k) {
            const int64_t entry = i / width * top_k + k;
            want[i] += weight.at(entry) * work.at(entry * width + i % width);
          }
        }
        reference::expect_close(first, want, kBf16Tolerance);
        args.out = args.residual;  // in place
        EXPECT_TRUE(run().same_bits(first));
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::gpu
