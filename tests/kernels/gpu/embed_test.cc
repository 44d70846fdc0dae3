// embed on the GPU: table rows, and the tokens of the step before.
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

class Embed : public Device {};

TEST_F(Embed, LooksUpTokensAndTheTokensSampledBefore) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const int64_t width : {1, 21, 72, 2048, 2056}) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + std::to_string(width));
      const Owned table = Owned::random(dtype, {11, width}, 1);
      const std::vector<int32_t> want = {3, 5, 10, 7, 0, -1};  // -1: nothing was sampled
      const Tensor out = poisoned(DType::kBf16, {6, width});
      Weight weight = table.weight();
      weight.data = put(table).data;
      RaggedBatch batch;
      batch.num_tokens = 6;
      batch.token = put(std::vector<int32_t>{3, -2, 10, -1, 0, -3});
      backend().embed(
          {.out = out, .table = weight, .previous = put(std::vector<int32_t>{7, 5, -1})}, batch);
      const Owned got = get(out);
      for (int64_t t = 0; t < 6; ++t) {
        for (int64_t i = 0; i < width; ++i) {
          const float from = want[t] < 0 ? 0.0F : static_cast<float>(table.at(want[t] * width + i));
          ASSERT_EQ(got.at(t * width + i), round_bits(from, DType::kBf16));
        }
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::gpu
