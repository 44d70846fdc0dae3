#include "engine/memory/scratch.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>

namespace switchyard {
namespace {

struct Region {
  alignas(64) std::array<std::byte, 1024> bytes{};
};

TEST(Scratch, HandsOutAlignedTensorsThatDoNotOverlap) {
  Region region;
  Scratch scratch(region.bytes.data(), 1024);
  const Tensor a = scratch.take(DType::kF32, {3, 5});
  const Tensor b = scratch.take(DType::kBf16, {7});
  EXPECT_TRUE(a.is(DType::kF32, {3, 5}));
  EXPECT_EQ(a.data, region.bytes.data());
  EXPECT_EQ(b.data, region.bytes.data() + 64);
  std::memset(b.data, 1, static_cast<size_t>(b.bytes()));  // inside the region: the sanitizer sees
}

TEST(Scratch, ReusesWhatWasTakenSinceTheMark) {
  Region region;
  Scratch scratch(region.bytes.data(), 1024);
  const Tensor kept = scratch.take(DType::kF32, {16});
  const Scratch::Mark mark = scratch.mark();
  const Tensor first = scratch.take(DType::kF32, {100});
  scratch.rewind(mark);
  const Tensor second = scratch.take(DType::kF32, {16});
  EXPECT_EQ(first.data, second.data);
  EXPECT_NE(second.data, kept.data);
  EXPECT_EQ(scratch.peak_bytes(), 64 + 400);
}

TEST(Scratch, MeasuresOverANullBaseWhatARealRegionNeeds) {
  Scratch measure(nullptr, std::numeric_limits<int64_t>::max());
  (void)measure.take(DType::kF32, {3});
  (void)measure.take(DType::kF32, {int64_t{1} << 40});
  const int64_t needed = 64 + (int64_t{4} << 40);
  EXPECT_EQ(measure.peak_bytes(), needed);
  Scratch exact(nullptr, needed);
  (void)exact.take(DType::kF32, {3});
  (void)exact.take(DType::kF32, {int64_t{1} << 40});
}

TEST(ScratchDeathTest, StopsWhenTheRegionRunsOut) {
  Region region;
  Scratch scratch(region.bytes.data(), 1024);
  (void)scratch.take(DType::kF32, {255});
  EXPECT_DEATH((void)scratch.take(DType::kF32, {2}), "CHECK");
  EXPECT_DEATH((void)scratch.take(DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}), "CHECK");
}

}  // namespace
}  // namespace switchyard
