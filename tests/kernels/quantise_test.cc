// The rules by which numbers become codes and scales, on cases worked out by hand; packing and made
// up weights on the CPU.
#include "kernels/cpu/quantise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/cpu_weight.h"

namespace switchyard {
namespace {

using cpu::choose_scale;
using cpu::decode;
using cpu::encode;
using cpu::from_e4m3;
using cpu::to_e4m3;
using reference::CpuWeight;
using reference::Owned;
using ::testing::ElementsAre;

constexpr WeightFormat kQuantised[] = {WeightFormat::kFp8, WeightFormat::kInt8,
                                       WeightFormat::kInt4};

std::vector<int> codes_of(WeightFormat format, float scale, const std::vector<float>& values) {
  std::vector<uint8_t> codes(values.size());
  encode(format, scale, values, codes.data());
  return {reinterpret_cast<int8_t*>(codes.data()),
          reinterpret_cast<int8_t*>(codes.data()) + codes.size()};
}

float round_scale_of(WeightFormat format, const std::vector<float>& values) {
  return choose_scale(format, ScaleChoice::kRound, values);
}

TEST(E4m3, EveryCodeIsItsOwnNearest) {
  for (int bits = 0; bits < 256; ++bits) {
    const auto code = static_cast<uint8_t>(bits);
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(from_e4m3(code)));
      continue;
    }
    EXPECT_EQ(from_e4m3(code), reference::e4m3_value(code)) << bits;
    EXPECT_EQ(to_e4m3(from_e4m3(code)), code) << bits;
  }
}

// Between two neighbours: nearer the one, halfway (to the even code), nearer the other.
TEST(E4m3, RoundsToTheNearestAndTiesToEven) {
  for (uint8_t code = 0; code < 0x7e; ++code) {
    const double low = reference::e4m3_value(code);
    const double high = reference::e4m3_value(code + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    EXPECT_EQ(to_e4m3(middle), code % 2 == 0 ? code : code + 1) << +code;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0F)), code) << +code;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 1e9F)), code + 1) << +code;
    EXPECT_EQ(to_e4m3(-std::nextafter(middle, 1e9F)), (code + 1) | 0x80) << +code;
  }
}

TEST(E4m3, SaturatesAndHasNoNaN) {
  EXPECT_EQ(to_e4m3(449), 0x7e);
  EXPECT_EQ(to_e4m3(-1e30F), 0xfe);
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::infinity()), 0x7e);
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::quiet_NaN()), 0);
}

TEST(Scale, MakesTheLargestMagnitudeTheLargestCode) {
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {1, -3.5F, 2}), 0.5F);
  EXPECT_EQ(round_scale_of(WeightFormat::kInt8, {1, -254, 2}), 2);
  EXPECT_EQ(round_scale_of(WeightFormat::kFp8, {1, -224, 2}), 0.5F);
  EXPECT_EQ(round_scale_of(WeightFormat::kFp8, {1}), 1.0F / 448);  // not rounded
}

// 8 significant bits: the unit is 2^-7 above 1.
TEST(Scale, IsRoundedToEightBitsTiesToEven) {
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {7 * (1 + 0x1p-8F)}), 1);
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {7 * (1 + 3 * 0x1p-8F)}), 1 + 0x1p-6F);
  EXPECT_EQ(round_scale_of(WeightFormat::kInt8, {127 * (1 + 5 * 0x1p-9F)}), 1 + 0x1p-7F);
}

// f16 has nothing between the multiples of 2^-24 there.
TEST(Scale, MayBeASubnormalF16) {
  const float unit = 0x1p-24F;
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {7 * 1.5F * unit}), 2 * unit);
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {7 * 2.5F * unit}), 2 * unit);
  const std::vector<float> values = {7 * 1.25F * unit, -7 * 1.25F * unit, unit};
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, values), unit);
  EXPECT_THAT(codes_of(WeightFormat::kInt4, unit, values), ElementsAre(7, -7, 1));  // 8.75: clamped
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {7 * 0.25F * unit}), 0);
}

TEST(Scale, StaysFinite) {
  EXPECT_EQ(round_scale_of(WeightFormat::kInt4, {1e9F}), 65280);
  EXPECT_EQ(round_scale_of(WeightFormat::kInt8, {-std::numeric_limits<float>::infinity()}), 65280);
}

TEST(Codes, AreTheNearestTiesToEvenWithinTheRange) {
  const std::vector<float> values = {0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 0.51F, 6.49F, 7.4F, -9};
  EXPECT_THAT(codes_of(WeightFormat::kInt4, 1, values),
              ElementsAre(0, 2, 2, 0, -2, -2, 1, 6, 7, -7));
  EXPECT_THAT(codes_of(WeightFormat::kInt8, 0.5F, {0.25F, 0.75F, 63.25F, 63.5F, -64, 100}),
              ElementsAre(0, 2, 126, 127, -127, 127));
  EXPECT_THAT(codes_of(WeightFormat::kInt8, 1, {std::numeric_limits<float>::quiet_NaN(), 3}),
              ElementsAre(0, 3));
}

TEST(Codes, OfAGroupOfZerosAreZeros) {
  for (const WeightFormat format : kQuantised) {
    for (const ScaleChoice choice : {ScaleChoice::kRound, ScaleChoice::kSearch}) {
      EXPECT_EQ(choose_scale(format, choice, std::vector<float>(5)), 0);
    }
    EXPECT_THAT(codes_of(format, 0, {0, -0.0F, 1}), ElementsAre(0, 0, 0));
    EXPECT_EQ(decode(format, 0, 0), 0);
  }
}

float error_of(WeightFormat format, float scale, const std::vector<float>& values) {
  std::vector<uint8_t> codes(values.size());
  encode(format, scale, values, codes.data());
  float sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float error = values[i] - decode(format, scale, codes[i]);
    sum += error * error;
  }
  return sum;
}

TEST(Search, FindsTheCandidateWithTheLeastSquaredError) {
  int better = 0;
  for (const WeightFormat format : kQuantised) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const Owned random = Owned::random(DType::kF32, {32}, seed);
      const std::vector<float> values(random.view().f32(), random.view().f32() + 32);
      const float rounded = round_scale_of(format, values);
      const float found = choose_scale(format, ScaleChoice::kSearch, values);
      EXPECT_EQ(found, cpu::rounded_scale(format, found));
      EXPECT_LE(found, rounded);
      EXPECT_GE(found, 0.495F * rounded);
      float largest = 0;
      for (const float value : values) largest = std::max(largest, std::abs(value));
      largest /= format == WeightFormat::kFp8 ? 448 : format == WeightFormat::kInt8 ? 127 : 7;
      float least = std::numeric_limits<float>::infinity();
      for (int i = 0; i < 32; ++i) {
        const float factor = 1 - static_cast<float>(i) / 62;
        least =
            std::min(least, error_of(format, cpu::rounded_scale(format, largest * factor), values));
      }
      EXPECT_EQ(error_of(format, found, values), least);
      if (least < error_of(format, rounded, values)) ++better;
    }
  }
  EXPECT_GT(better, 20);
}

TEST(Search, KeepsTheFirstOfEquals) {
  EXPECT_EQ(choose_scale(WeightFormat::kInt4, ScaleChoice::kSearch, std::vector<float>{7, -3, 2}),
            1);
}

TEST(Pack, WritesTheLayoutThatItsHeaderSays) {
  Owned source(DType::kF32, {2, 3});
  const float values[] = {7, -7, 2, 0, 14, -3};
  for (int i = 0; i < 6; ++i) source.set(i, values[i]);
  const CpuWeight int4(WeightFormat::kInt4, source);
  EXPECT_EQ(int4.view().group, 32);
  EXPECT_THAT(int4.data(), ElementsAre(0x1f, 0x8a, 0xf8, 0x86));  // -3 / 2 is -2
  EXPECT_THAT(int4.scale_bytes(), ElementsAre(0x00, 0x3c, 0x00, 0x40));
  for (int i = 0; i < 6; ++i) source.set(i, values[i] * 64);
  const CpuWeight fp8(WeightFormat::kFp8, source);
  EXPECT_THAT(fp8.data(), ElementsAre(0x7e, 0xfe, 0x70, 0x00, 0x7e, 0xec));
  EXPECT_THAT(fp8.scale_bytes(), ElementsAre(0, 0, 0x80, 0x3f, 0, 0, 0, 0x40));
}

// Two groups of 32 and one of 7, which has a scale of its own.
TEST(Pack, GivesTheShortLastGroupItsOwnScale) {
  Owned source = Owned::random(DType::kF32, {3, 71}, 1);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t col = 64; col < 71; ++col) source.set(row * 71 + col, col == 66 ? 0.07F : 0.01F);
  }
  for (const WeightFormat format : kQuantised) {
    const CpuWeight packed(format, source);
    EXPECT_NEAR(packed.value(2, 66), 0.07, 0.07 / 256);
    EXPECT_NEAR(packed.value(2, 67), 0.01, 0.01 / 16);
  }
}

TEST(Pack, StaysWithinHalfAStepOfTheSource) {
  const Owned source = Owned::random(DType::kBf16, {19, 200}, 3);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const CpuWeight packed(format, source);
    for (int64_t i = 0; i < 19 * 200; ++i) {
      const double step = packed.scale(i / 200, i % 200 / packed.view().group);
      EXPECT_LE(std::abs(packed.value(i / 200, i % 200) - source.at(i)), 0.5000001 * step);
    }
  }
}

TEST(Pack, ConvertsPlainNumbers) {
  Owned source(DType::kF32, {1, 3});
  const float values[] = {1 + 0x1p-9F, -3, 1 + 3 * 0x1p-11F};
  for (int i = 0; i < 3; ++i) source.set(i, values[i]);
  EXPECT_THAT(CpuWeight(WeightFormat::kBf16, source).values(), ElementsAre(1, -3, 1));
  EXPECT_THAT(CpuWeight(WeightFormat::kF16, source).values(),
              ElementsAre(1 + 0x1p-9, -3, 1 + 0x1p-9));
  EXPECT_THAT(CpuWeight(WeightFormat::kF32, source).values(),
              ElementsAre(values[0], values[1], values[2]));
}

TEST(Pack, KeepsTheCodesOfGivenScales) {
  Owned source(DType::kF32, {2, 40});
  Owned scale(DType::kF32, {2, 2});
  const float scales[] = {0.3F, 1e-4F, 7.7F, 0};
  std::vector<uint8_t> codes;
  for (int i = 0; i < 4; ++i) scale.set(i, scales[i]);
  for (int i = 0; i < 80; ++i) {
    const float group_scale = scales[i / 40 * 2 + i % 40 / 32];
    const auto code = static_cast<uint8_t>(group_scale == 0 ? 0 : i * 37 % 0x7f | (i & 1) << 7);
    codes.push_back(code);
    source.set(i, from_e4m3(code) * group_scale);
  }
  CpuWeight packed(WeightFormat::kFp8, source);
  EXPECT_NE(packed.data(), codes);
  CpuBackend backend(1);
  backend.pack({.out = packed.view(), .source = source.view(), .given_scale = scale.view()});
  EXPECT_EQ(packed.data(), codes);
  EXPECT_EQ(packed.scale(1, 0), 7.7F);
}

TEST(PackDeathTest, TakesScalesOnlyWhereTheyCanBeKept) {
  const Owned source = Owned::random(DType::kF32, {2, 40}, 1);
  const Owned scale = Owned::random(DType::kF32, {2, 2}, 1);
  const CpuWeight int8(WeightFormat::kInt8, source);
  const CpuWeight fp8(WeightFormat::kFp8, source);
  CpuBackend backend(1);
  EXPECT_DEATH(
      backend.pack({.out = int8.view(), .source = source.view(), .given_scale = scale.view()}),
      "kFp8");
  EXPECT_DEATH(
      backend.pack(
          {.out = fp8.view(), .source = source.view(), .given_scale = scale.view().first(1)}),
      "given_scale");
}

TEST(FillNormal, HasTheMeanAndDeviationAskedFor) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    Owned out = Owned::poisoned(dtype, {300, 333});
    CpuBackend(2).fill_normal({.out = out.view(), .seed = 9, .deviation = 0.25F});
    double sum = 0, squares = 0, neighbours = 0, before = 0;
    for (const double value : out.values()) {
      ASSERT_LT(std::abs(value), 0.25 * 3.5);
      sum += value;
      squares += value * value;
      neighbours += value * before;
      before = value;
    }
    const auto count = static_cast<double>(out.view().elements());
    EXPECT_NEAR(sum / count, 0, 0.003);
    EXPECT_NEAR(std::sqrt(squares / count), 0.25, 0.002);
    EXPECT_NEAR(neighbours / squares, 0, 0.01);
  }
}

TEST(FillNormal, DependsOnSeedAndIndexAlone) {
  constexpr int64_t kCount = 200'000;
  Owned first(DType::kBf16, {kCount}), again(DType::kBf16, {kCount}), part(DType::kBf16, {777}),
      low(DType::kBf16, {kCount}), high(DType::kBf16, {kCount});
  CpuBackend(3).fill_normal({.out = first.view(), .seed = 5});
  CpuBackend(1).fill_normal({.out = again.view(), .seed = 5});
  CpuBackend(1).fill_normal({.out = part.view(), .seed = 5});
  CpuBackend(1).fill_normal({.out = low.view(), .seed = 6});
  CpuBackend(1).fill_normal({.out = high.view(), .seed = 5 + (uint64_t{1} << 40)});
  EXPECT_TRUE(first.same_bits(again));
  EXPECT_EQ(std::memcmp(first.view().data, part.view().data, part.view().bytes()), 0);
  EXPECT_FALSE(first.same_bits(low));
  EXPECT_FALSE(first.same_bits(high));
}

}  // namespace
}  // namespace switchyard
